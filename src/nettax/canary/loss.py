"""What a canary lost: 1 − its speed / its speed undisturbed.

**Chain.** Undisturbed, it does r₀ steps per second of wall time. Take a share n of the CPU away and
it does r = r₀ (1 − n), hence

    loss = n = 1 − r / r₀,    r₀ = (r_before + r_after) / 2

The mean of a window before and one after cancels a drift that is linear in time (turbo, a warming
core, a neighbour that comes or goes slowly).

**Gap.** Let g be the share of wall time in gaps and g₀ that of the idle windows: the hypervisor's
and the tick's. The hypervisor goes on taking g₀ of the wall whoever runs on the CPU, so the CPU
that there is to take from is 1 − g₀. Of that, n is taken and the canary keeps the rest:

    1 − g = (1 − g₀) (1 − n),    so    loss = n = (g − g₀) / (1 − g₀)

which is the chain's figure exactly, if the chain's speed outside gaps is what it always is. The
plain difference g − g₀ is the same loss in points of wall time: too small by the factor 1 − g₀.
What the chain loses beyond the gap engine is indirect cost: slower steps, not missing time.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

from nettax.canary.canary import CanaryInterval
from nettax.errors import UsageError


@dataclass(frozen=True, slots=True)
class Loss:
    """The share of a canary's speed that was taken, and what it was compared with."""

    value: float
    """From 0 (undisturbed) to 1; a little below 0 when the idle windows were the noisier."""
    baseline: float
    """Undisturbed: steps per second (chain), or the share of wall time in gaps (gap)."""
    drift: float
    """How far the two idle windows lie apart, over their mean; ``value`` is off by about half."""


def loss(interval: CanaryInterval, before: CanaryInterval, after: CanaryInterval) -> Loss:
    """Return the loss in ``interval``, against the idle windows before and after it.

    :raises UsageError: the intervals are of different canaries.
    """
    if len({(each.pid, each.engine) for each in (interval, before, after)}) > 1:
        raise UsageError("a loss compares one canary with itself: these intervals are of several.")
    if interval.engine == "gap":
        kept, kept_before, kept_after = (1 - each.gap_share for each in (interval, before, after))
        idle = mean((kept_before, kept_after))
        return Loss(1 - kept / idle, 1 - idle, abs(kept_after - kept_before) / idle)
    idle = mean((before.rate, after.rate))
    return Loss(1 - interval.rate / idle, idle, abs(after.rate - before.rate) / idle)

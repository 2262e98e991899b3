"""Many values as counts: bounded memory, quantiles within 3 %."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Distribution"]

_BITS: Final = 5  # each octave is cut into 2⁵ slots; values below 2⁶ have their own
_SLOTS: Final = (64 - _BITS) << _BITS


class Distribution:
    """Of whole numbers, 0 or more. Count, sum, least and most are exact."""

    def __init__(self) -> None:
        """Empty."""
        self.count = self.sum = self.most = 0
        self.least = 0
        self._slots = np.zeros(_SLOTS, np.int64)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count values; negative ones count as 0."""
        if not len(values):
            return
        values = np.maximum(values, 0).astype(np.uint64)
        least, most = int(values.min()), int(values.max())
        self.least = min(self.least, least) if self.count else least
        self.most = max(self.most, most)
        self.count += len(values)
        self.sum += int(values.sum())
        # The exponent of a double is that of the whole number, but for those just below a power
        # of two beyond 2⁵³, which no recording has.
        shift = np.maximum(np.frexp(values.astype(np.float64))[1] - 1 - _BITS, 0).astype(np.uint64)
        slots = (shift << np.uint64(_BITS)) + (values >> shift)
        self._slots += np.bincount(slots.astype(np.int64), minlength=_SLOTS)[:_SLOTS]

    def quantile(self, share: float) -> int:
        """The least value that so large a share of all does not exceed; 0 if there are none."""
        if not self.count:
            return 0
        wanted = max(1, int(np.ceil(share * self.count)))
        slot = int(np.searchsorted(np.cumsum(self._slots), wanted))
        shift = max(slot >> _BITS, 1) - 1
        low = (slot - (shift << _BITS)) << shift
        return min(max(low + (1 << shift) // 2, self.least), self.most)

    def octaves(self) -> list[int]:
        """Counts of 0, 1, 2 to 3, 4 to 7 and so on, up to the last that is not empty."""
        if not self.count:
            return []
        counts = [int(self._slots[0])]
        for power in range(self.most.bit_length()):
            low, high = _slot(1 << power), _slot((2 << power) - 1)
            counts.append(int(self._slots[low : high + 1].sum()))
        return counts


def _slot(value: int) -> int:
    shift = max(value.bit_length() - 1 - _BITS, 0)
    return (shift << _BITS) + (value >> shift)

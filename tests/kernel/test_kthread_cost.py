"""`nettax run kthread-cost`: the half that runs on this host."""

from __future__ import annotations

from nettax.experiment.runs.kthread_cost import PARTS, WHOLE, natively
from nettax.experiment.runs.kthreads import QUEUES
from nettax.functions.histogram import Histogram


def test_each_thread_that_was_made_is_followed() -> None:
    """A device asks for as many as it has queues; the parts of the way add up to the whole."""
    said: list[str] = []
    native, doubts = natively(1, said.append)
    print(doubts, {name: rounds[0][WHOLE].quantile(0.5) for name, rounds in native.items()})
    assert len(said) == 1
    assert len(native) == 3
    total = sum(rounds[0][WHOLE].count for rounds in native.values())
    assert total <= QUEUES * 3 <= total + doubts.abandoned + doubts.unmatched + doubts.missed
    for (stages,) in native.values():
        assert stages[WHOLE].least_ns > 0
        if all(stages[part].count == stages[WHOLE].count for part in PARTS):
            parts = sum((stages[part] for part in PARTS), Histogram())
            assert parts.sum_ns == stages[WHOLE].sum_ns

"""Timeline and bursts, from Ahern's nine lines and from events made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.events.bursts import bursts
from nettax.events.distribution import Distribution
from nettax.events.model import EVENT, EventArray, Flag, Kind, Machine, Recording, Tables, Task
from nettax.events.sniff import open_recording
from nettax.events.spans import CUT, spans
from nettax.report import bursts as bursts_report
from nettax.report import timeline
from nettax.report.fields import TABLES
from nettax.report.interval import time_text

# David Ahern, "The CPU cost of networking on a host", from his perf script.
AHERN = """\
swapper 0 [005] 176146.491879: irq:irq_handler_entry: irq=152 name=mlx5_comp2@pci:0000:d8:00.0
swapper 0 [005] 176146.491880: irq:irq_handler_exit: irq=152 ret=handled
swapper 0 [005] 176146.491880: irq:softirq_entry: vec=3 [action=NET_RX]
swapper 0 [005] 176146.491942: napi:napi_poll: napi poll on napi struct 0xffff9d3d53863e88 \
for device eth0 work 64 budget 64
swapper 0 [005] 176146.491943: irq:softirq_exit: vec=3 [action=NET_RX]
swapper 0 [005] 176146.491943: irq:softirq_entry: vec=3 [action=NET_RX]
swapper 0 [005] 176146.491971: napi:napi_poll: napi poll on napi struct 0xffff9d3d53863e88 \
for device eth0 work 27 budget 64
swapper 0 [005] 176146.491971: irq:softirq_exit: vec=3 [action=NET_RX]
swapper 0 [005] 176146.492200: irq:irq_handler_entry: irq=152 name=mlx5_comp2@pci:0000:d8:00.0
"""


@pytest.fixture
def ahern(tmp_path: Path) -> Iterator[Recording]:
    path = tmp_path / "script.txt"
    path.write_text(AHERN)
    with open_recording(path) as recording:
        yield recording


def test_aherns_nine_lines(ahern: Recording) -> None:
    (row,) = timeline.rows(ahern)
    assert [irq["name"] for irq in row["hardirqs"]] == ["mlx5_comp2@pci:0000:d8:00.0"]
    assert [soft["ns"] for soft in row["softirqs"]] == [63_000, 28_000]
    assert [poll["work"] for poll in row["polls"]] == [64, 27]
    assert row["gap_ns"] == 229_000
    assert "".join(timeline.text(ahern)) == (
        "   176146.491879    5  swapper          mlx5_comp2@pci:0000:d8:00.0 → "
        "NET_RX ×2 (64/64, 27/64) 63 µs + 28 µs → gap 229 µs\n"
    )


def test_aherns_bursts(ahern: Recording) -> None:
    found = bursts(ahern)
    assert (found.run_ns.count, found.run_ns.sum) == (2, 91_000)
    assert (found.packets_per_poll.sum, found.packets_per_poll.most) == (91, 64)
    assert found.exhausted == 1
    assert (found.rounds.count, found.rounds.most) == (1, 2)
    assert (found.gap_ns.least, found.gap_ns.most) == (229_000, 229_000)
    assert found.irq_to_run_ns.sum == 1_000
    assert found.runners["unknown"].packets == 91
    document = bursts_report.document(found)
    assert document["run_ns"]["p50"] == pytest.approx(28_000, rel=0.03)
    assert "budget used up by 1 of 2 polls" in bursts_report.text(found)


def test_what_bursts_prints_has_its_meaning(ahern: Recording) -> None:
    tables = bursts_report.text(bursts(ahern)).split("\n\n")
    rows = [row.split("  ")[0] for row in tables[0].splitlines()]
    assert rows == [field.name for field in TABLES["bursts"].fields]
    head = [word for word in tables[1].splitlines()[0].split("  ") if word]
    assert [word.strip() for word in head] == [field.name for field in TABLES["runners"].fields]


class Made(Recording):
    """Events made up, cut into chunks of some length."""

    def __init__(self, events: Sequence[tuple[int, ...]], length: int = 1000) -> None:
        self.tables = Tables()
        self.tables.tasks.add(Task(7, 0, "ksoftirqd/0"))
        self.machine, self.damage, self.path = Machine(), [], Path("made")
        self.format, self.clock, self.kinds, self.vectors = "made", None, None, None
        self._length = length
        self.events = np.zeros(len(events), EVENT)
        for row, (time, cpu, kind, number, pid, flags) in zip(self.events, events, strict=True):
            row["time_ns"], row["cpu"], row["kind"] = time, cpu, kind
            row["id"], row["pid"], row["flags"] = number, pid, flags

    def set(self, field: str, values: Sequence[int]) -> None:
        """Another field of all events."""
        self.events[field] = values

    def chunks(self) -> Iterator[EventArray]:
        for start in range(0, len(self.events), self._length):
            yield self.events[start : start + self._length]

    def rows(self) -> Iterator[memoryview]:
        for chunk in self.chunks():
            yield memoryview(chunk.tobytes())

    def close(self) -> None:
        pass


IRQ, IRQ_OFF = Kind.HARDIRQ_ENTRY, Kind.HARDIRQ_EXIT
SOFT, SOFT_OFF, RAISE = Kind.SOFTIRQ_ENTRY, Kind.SOFTIRQ_EXIT, Kind.SOFTIRQ_RAISE

NESTED = [
    (1000, 0, IRQ, 9, 5, 0),
    (1500, 0, RAISE, 3, 5, 0),
    (2000, 0, IRQ_OFF, 9, 5, 0),
    (2200, 0, SOFT, 3, 5, Flag.IRQ_EXIT),
    (3000, 0, IRQ, 8, 5, 0),
    (3400, 0, IRQ_OFF, 8, 5, 0),
    (5200, 0, SOFT_OFF, 3, 5, 0),
    (5300, 0, SOFT, 1, 5, Flag.IRQ_EXIT),
    (5400, 0, SOFT_OFF, 1, 5, 0),
    (9000, 0, Kind.SWITCH, 7, 5, 0),
    (9100, 0, SOFT, 3, 7, Flag.BH_ENABLE),
    (9900, 0, SOFT_OFF, 3, 7, 0),
]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 100])
def test_an_interrupt_within_a_softirq(length: int) -> None:
    rows = list(timeline.rows(Made(NESTED, length)))
    assert [(row["time_ns"], row["gap_ns"], row["interrupted"]) for row in rows] == [
        (1000, 3700, 1),
        (9100, None, 0),
    ]
    assert rows[0]["softirqs"] == [{"vector": "net_rx", "ns": 2600}, {"vector": "timer", "ns": 100}]
    assert "(interrupted ×1)" in "".join(timeline.text(Made(NESTED, length)))
    found = bursts(Made(NESTED, length))
    assert found.raise_to_run_ns.sum == 700
    assert found.irq_to_run_ns.sum == 1200
    assert found.runners["irq_exit"].ns == 2600
    assert found.runners["ksoftirqd"].ns == 800


def test_what_lacks_its_other_half_is_left_out() -> None:
    events = [
        (1, 0, SOFT_OFF, 3, 5, 0),
        (10, 0, SOFT, 3, 5, 0),
        (11, 0, Kind.LOST, 0, -1, 0),
        (12, 0, SOFT_OFF, 3, 5, 0),
        (20, 0, SOFT, 1, 5, 0),
        (25, 0, SOFT_OFF, 1, 5, 0),
        (30, 0, IRQ, 9, 5, 0),
    ]
    (row,) = timeline.rows(Made(events))
    assert (row["time_ns"], row["end_ns"], row["gap_ns"]) == (20, 25, 5)


Raw = list[tuple[Kind, int, int, int]]
some_events: st.SearchStrategy[Raw] = st.lists(
    st.tuples(
        st.sampled_from([IRQ, IRQ_OFF, SOFT, SOFT_OFF, SOFT, SOFT_OFF, RAISE, Kind.NAPI_POLL,
                         Kind.SWITCH, Kind.LOST, Kind.END]),
        st.sampled_from([3, 3, 1]),
        st.integers(0, 1),
        st.sampled_from([0, 1, 10, 400, 30_000]),
    ),
    max_size=60,
)  # fmt: skip


@given(some_events, st.integers(1, 20))
@settings(deadline=None)
def test_spans_are_those_found_by_looking_for_each_exit(raw: Raw, length: int) -> None:
    """However the recording is cut into chunks."""
    events = _timed(raw)
    found = _all_spans(Made(events, length))
    assert found == sorted(
        span for cpu in (0, 1) for span in _by_looking([e for e in events if e[1] == cpu])
    )
    text = "".join(timeline.text(Made(events, length)))
    assert text == "".join(timeline.text(Made(events)))
    assert len(text.splitlines()) == len(list(timeline.rows(Made(events, length))))


def _timed(raw: Raw) -> list[tuple[int, ...]]:
    now = 1000
    events: list[tuple[int, ...]] = []
    for kind, number, cpu, later in raw:
        now += later
        events.append((now, cpu, kind, number, 5, 0))
    return events


def _all_spans(recording: Recording) -> list[tuple[int, ...]]:
    """What is in groups: where, when, how long without hard IRQs, what, and its polls."""
    return sorted(
        (cpu, start, end, end - start - hard, kind, number, polls)
        for part in spans(recording.chunks())
        for cpu, start, end, hard, kind, number, polls, state in part.spans[
            ["cpu", "start_ns", "end_ns", "hard_ns", "kind", "id", "polls", "state"]
        ].tolist()
        if state != CUT
    )


def _by_looking(events: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Each entry's exit is the first after it before which everything else has found its own."""
    for i, (start, cpu, kind, number, *_) in enumerate(events):
        if kind not in (IRQ, SOFT):
            continue
        hard, polls, opened = 0, 0, [(kind, number, start)]
        for time, _, what, which, *_ in events[i + 1 :]:
            if what in (IRQ, SOFT):
                opened.append((what, which, time))
            elif what in (IRQ_OFF, SOFT_OFF):
                last, its, began = opened.pop()
                if last + 1 != what or its != which:
                    break
                if last == IRQ and len(opened) == 1:
                    hard += time - began
                if not opened:
                    yield cpu, start, time, time - start - hard, kind, number, polls
                    break
            elif what == Kind.NAPI_POLL:
                rx = [j for j, (k, n, _) in enumerate(opened) if (k, n) == (SOFT, 3)]
                polls += rx[-1:] == [0]
            elif what != RAISE:
                break


@given(st.binary(max_size=40 * 60), st.integers(0, 255), st.integers(1, 20), st.booleans())
@settings(deadline=None)
def test_any_bytes_may_come_as_events(raw: bytes, few: int, length: int, near: bool) -> None:
    """A reader gives them in order of time; all else may be as it likes."""
    events = np.frombuffer(raw[: len(raw) // 40 * 40], EVENT).copy()
    events["time_ns"] >>= np.uint64(2 if not near else 40)
    events["kind"] %= 20
    events["cpu"] = np.where(events["cpu"] < 1 << 15, events["cpu"] % 3, events["cpu"])
    events["id"] &= few | ~255
    recording = Made([], length)
    recording.events = events[np.argsort(events["time_ns"], kind="stable")]
    lines = "".join(timeline.text(recording))
    assert lines == "".join(timeline.text(recording))
    rows = list(timeline.rows(recording))
    assert len(rows) == lines.count("\n")
    assert all(row["end_ns"] >= row["time_ns"] for row in rows)
    found = bursts(recording)
    assert found.rounds.sum <= found.run_ns.count
    assert found.run_ns.count == sum(share.runs for share in found.runners.values())


@given(st.integers(0, 10**12) | st.integers(0, 10**6) | st.integers(1, 2000).map(lambda n: 5 * n))
def test_times_in_lines_are_those_of_the_tables(ns: int) -> None:
    events = [(1, 0, SOFT, 3, 5, 0), (1 + ns, 0, SOFT_OFF, 3, 5, 0)]
    assert "".join(timeline.text(Made(events))).endswith(f" NET_RX {time_text(ns)}\n")


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=200))
@settings(deadline=None)
def test_distribution(values: list[int]) -> None:
    found = Distribution()
    for cut in range(0, len(values), 7):
        found.add(np.array(values[cut : cut + 7], np.int64))
    assert (found.count, found.sum) == (len(values), sum(values))
    assert (found.least, found.most) == (min(values), max(values))
    assert sum(found.octaves()) == len(values)
    for share in (0.01, 0.5, 0.9, 1.0):
        exact = sorted(values)[max(1, int(np.ceil(share * len(values)))) - 1]
        assert abs(found.quantile(share) - exact) <= max(0.032 * exact, 0)

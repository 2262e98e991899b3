"""Sums by workload: nothing is lost, nothing falls, and their number is bounded."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.export.workloads import OTHER, RETIRE_S, Workloads
from nettax.ledger import Charges

LENGTH = len(Charges().values)


def charged(ns: int) -> Charges:
    return Charges((ns,) * LENGTH)


class Host:
    """Cgroups by id, with the paths that they had while they were there."""

    def __init__(self, **paths: str) -> None:
        self.known: dict[int, str | None] = {
            int(name.removeprefix("c")): path for name, path in paths.items()
        }

    def paths(self, ids: Iterable[int]) -> dict[int, str | None]:
        return {each: self.known.get(each) for each in ids}


def shown(workloads: Workloads) -> dict[tuple[str, str], int]:
    return {label: charges.oncpu_ns for label, charges in workloads.totals().items()}


def test_cgroups_of_one_workload_add_up() -> None:
    host = Host(c1="/system.slice/db.service", c2="/system.slice/db.service/worker", c3="/")
    workloads = Workloads(10)
    workloads.update({1: charged(5), 2: charged(7), 3: charged(1)}, host.paths, 0)
    workloads.update({2: charged(10)}, host.paths, 1)
    assert shown(workloads) == {("service", "db.service"): 22, ("root", "/"): 1, OTHER: 0}


def test_a_workload_outlives_its_cgroups_for_a_while() -> None:
    host = Host(c1="/system.slice/job.service", c2="/system.slice/job.service")
    workloads = Workloads(10)
    workloads.update({1: charged(5)}, host.paths, 0)
    workloads.forget([1], 1)
    assert shown(workloads)["service", "job.service"] == 5
    workloads.update({2: charged(2)}, host.paths, 2)  # restarted: a cgroup with another id
    assert shown(workloads)["service", "job.service"] == 7
    workloads.forget([2], 3)
    workloads.update({}, host.paths, 3 + RETIRE_S)
    assert shown(workloads) == {OTHER: 0}


def test_those_that_are_too_many_share_a_series() -> None:
    host = Host(c1="/a.service", c2="/b.service", c3="/c.service")
    workloads = Workloads(2)
    workloads.update({1: charged(1), 2: charged(30), 3: charged(20)}, host.paths, 0)
    assert shown(workloads) == {
        ("service", "b.service"): 30,
        ("service", "c.service"): 20,
        OTHER: 1,
    }
    assert workloads.folded == 1


def test_a_place_that_is_free_goes_to_one_that_had_none() -> None:
    host = Host(c1="/a.service", c2="/b.service")
    workloads = Workloads(1)
    workloads.update({1: charged(9), 2: charged(4)}, host.paths, 0)
    workloads.forget([1], 1)
    workloads.update({2: charged(6)}, host.paths, 1 + RETIRE_S)
    assert shown(workloads) == {("service", "b.service"): 6, OTHER: 4}
    assert workloads.folded == 0


def test_names_that_look_the_same_are_one() -> None:
    """Bytes that are no UTF-8, and the text that stands for them."""
    host = Host(c1="/a\udcff", c2=r"/a\udcff")
    workloads = Workloads(10)
    workloads.update({1: charged(1), 2: charged(2)}, host.paths, 0)
    assert shown(workloads) == {("cgroup", r"a\udcff"): 3, OTHER: 0}


def test_cgroups_without_a_name() -> None:
    workloads = Workloads(10)
    workloads.update({0: charged(3), 77: charged(4)}, Host().paths, 0)
    assert shown(workloads) == {OTHER: 7}
    workloads.forget([77], 1)
    assert set(workloads.known()) == {0}


steps = st.lists(
    st.tuples(
        st.dictionaries(st.integers(1, 12), st.integers(0, 100), max_size=6),
        st.sets(st.integers(1, 12), max_size=4),
        st.floats(0, 2 * RETIRE_S),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(steps, st.integers(0, 4))
def test_whatever_comes_and_goes(
    history: list[tuple[dict[int, int], set[int], float]], most: int
) -> None:
    host = Host(**{f"c{i}": f"/unit-{i % 7}.service" for i in range(1, 13)})
    workloads = Workloads(most)
    now, put_in, retired = 0.0, 0, 0
    for grown, gone, seconds in history:
        before = shown(workloads)
        now += seconds
        workloads.update({}, host.paths, now)
        left = shown(workloads)
        retired += sum(before[label] for label in before.keys() - left.keys())
        workloads.update({key: charged(ns) for key, ns in grown.items()}, host.paths, now)
        after = shown(workloads)
        put_in += sum(grown.values())
        assert all(after[label] >= left[label] for label in left)
        assert sum(after.values()) + retired == put_in
        assert len(after) <= most + 1
        workloads.forget(gone, now)
        assert shown(workloads) == after

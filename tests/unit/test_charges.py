"""Charges: vectors that add and subtract, and whose parts go by the names of rows."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import nettax
from nettax.ledger.charges import FIELDS, LENGTH, Charges

vectors = st.builds(
    lambda values: Charges(tuple(values)),
    st.lists(st.integers(-(2**40), 2**62), min_size=LENGTH, max_size=LENGTH),
)


@given(vectors, vectors)
def test_subtracting_undoes_adding(a: Charges, b: Charges) -> None:
    assert (a + b) - b == a
    assert a + b == b + a


@given(st.lists(vectors))
def test_a_total_is_all_added_up(parts: list[Charges]) -> None:
    total = Charges()
    for part in parts:
        total += part
    assert Charges.total(parts) == total


@given(vectors)
def test_the_parts_are_the_whole(charges: Charges) -> None:
    """Every number has one name, and the sums are of the parts that they say."""
    named = (
        charges.oncpu_ns,
        charges.own_ns,
        charges.billed_ns,
        charges.hardirq_ns,
        *charges.softirq_ns,
        *charges.stolen_by_trigger_ns.values(),
        *charges.displaced_ns.values(),
        charges.wait_ns,
        charges.interrupts,
        charges.switches,
        charges.wakeup_ns,
        charges.waived_ns,
    )
    assert named == charges.values
    assert tuple(charges.stolen_ns.values()) == (charges.hardirq_ns, *charges.softirq_ns)
    stolen = sum(charges.stolen_ns.values())
    assert charges.taken_ns == stolen + sum(charges.displaced_ns.values())
    assert charges.kept_off_ns == stolen + charges.wait_ns


def test_equal_charges_are_one_in_a_set() -> None:
    assert len({Charges(), Charges((0,) * LENGTH), Charges((1,) * LENGTH)}) == 2
    assert Charges() != (0,) * LENGTH


def test_the_fields_are_those_of_the_header() -> None:
    header = (Path(nettax.__file__).parent / "bpf/ledger.h").read_text()
    body = header.partition("struct charges {")[2].partition("};")[0]
    assert tuple(re.findall(r"__s64 (\w+)", body)) == FIELDS

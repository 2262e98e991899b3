"""CPU lists and masks: round trips, the kernel's own spellings, and bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.errors import UsageError
from nettax.kernel import cpus

CPUS = st.sets(st.integers(0, 300)).map(lambda chosen: tuple(sorted(chosen)))


@given(CPUS)
def test_a_list_reads_back(chosen: tuple[int, ...]) -> None:
    assert cpus.parse_list(cpus.format_list(chosen)) == chosen


@given(CPUS)
def test_a_mask_reads_back(chosen: tuple[int, ...]) -> None:
    assert cpus.parse_mask(cpus.format_mask(chosen)) == chosen


@given(st.text(max_size=12))
def test_any_text_is_a_set_or_a_usage_error(text: str) -> None:
    for parse in (cpus.parse_list, cpus.parse_mask):
        try:
            chosen = parse(text)
        except UsageError:
            continue
        assert list(chosen) == sorted(set(chosen))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0\n", (0,)),
        ("0-1\n", (0, 1)),
        ("0,2-5", (0, 2, 3, 4, 5)),
        ("5,2-3,2", (2, 3, 5)),
        ("\n", ()),
    ],
)
def test_lists_as_perf_and_sysfs_write_them(text: str, expected: tuple[int, ...]) -> None:
    assert cpus.parse_list(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0\n", ()),
        ("3\n", (0, 1)),
        ("f0", (4, 5, 6, 7)),
        ("00000000,00000001", (0,)),
        ("1,80000000", (31, 32)),
    ],
)
def test_masks_as_the_kernel_writes_them(text: str, expected: tuple[int, ...]) -> None:
    assert cpus.parse_mask(text) == expected


def test_the_shortest_list_and_mask() -> None:
    assert cpus.format_list([5, 3, 2, 0, 2]) == "0,2-3,5"
    assert cpus.format_list([]) == ""
    assert cpus.format_mask([]) == "0"
    assert cpus.format_mask([0, 33]) == "2,00000001"


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1,,2", "+1", "1_0", "٣", "0-999999999"])
def test_a_bad_list_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        cpus.parse_list(text)


@pytest.mark.parametrize("text", ["", "g", "0x3", "1,", "123456789", "-1"])
def test_a_bad_mask_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        cpus.parse_mask(text)


def test_a_user_may_only_choose_online_cpus(tmp_path: Path) -> None:
    directory = tmp_path / "devices/system/cpu"
    directory.mkdir(parents=True)
    (directory / "online").write_text("0,2-3\n")
    (directory / "possible").write_text("0-7\n")
    assert cpus.possible(tmp_path) == (0, 1, 2, 3, 4, 5, 6, 7)
    assert cpus.select("2-3", tmp_path) == (2, 3)
    with pytest.raises(UsageError, match=r"CPU 1,4-5 is not online: this host runs 0,2-3"):
        cpus.select("1-5", tmp_path)
    with pytest.raises(UsageError, match="no CPU is named"):
        cpus.select(" ", tmp_path)

"""softnet_stat in the widths that kernels have printed it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from nettax.kernel.softnet import SoftnetStat, parse_softnet_stat

CAPTURED = Path(__file__).parents[1] / "fixtures/proc/vm-6.18/net/softnet_stat"

# processed 0x1a2b, dropped 0x3, time_squeeze 0x4, … received_rps 0x5, flow_limit 0x6, backlog 0x7,
# CPU 0x2, and the backlog's two parts.
WIDE = "00001a2b 00000003 00000004 " + "00000000 " * 6 + "00000005 00000006 00000007 00000002 "
WIDE += "00000004 00000003"


@pytest.mark.parametrize(
    ("columns", "cpu", "rps", "flow_limit", "backlog"),
    [
        (9, 0, None, None, None),
        (10, 0, 5, None, None),
        (11, 0, 5, 6, None),
        (13, 2, 5, 6, 7),
        (15, 2, 5, 6, 7),
    ],
)
def test_every_width(
    columns: int, cpu: int, rps: int | None, flow_limit: int | None, backlog: int | None
) -> None:
    text = " ".join(WIDE.split()[:columns]) + "\n"
    assert parse_softnet_stat(text, [0]) == [
        SoftnetStat(cpu, 0x1A2B, 3, 4, rps, flow_limit, backlog)
    ]


def test_offline_cpus_have_no_line() -> None:
    nine = " ".join(WIDE.split()[:9]) + "\n"
    assert [row.cpu for row in parse_softnet_stat(nine * 3, [0, 2, 3])] == [0, 2, 3]


def test_a_cpu_that_went_away_meanwhile_is_not_guessed() -> None:
    nine = " ".join(WIDE.split()[:9]) + "\n"
    with pytest.raises(ValueError, match="shorter"):
        parse_softnet_stat(nine * 2, [0, 1, 2])


def test_a_captured_file() -> None:
    rows = parse_softnet_stat(CAPTURED.read_text(), [7, 9])
    assert [row.cpu for row in rows] == [0, 1]  # the file's own word counts
    assert rows[0].dropped == rows[0].time_squeeze == 0
    assert rows[1].processed > rows[0].processed > 0

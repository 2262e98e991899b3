"""The fingerprint of a host: whole, and fit for JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from nettax.experiment.environment import environment


def test_a_host_made_by_hand(tmp_path: Path) -> None:
    sys, proc = tmp_path / "sys", tmp_path / "proc"
    cpus = sys / "devices/system/cpu"
    for cpu, governor in ((0, "schedutil"), (1, "performance"), (3, "schedutil")):
        (cpus / f"cpu{cpu}/cpufreq").mkdir(parents=True)
        (cpus / f"cpu{cpu}/cpufreq/scaling_governor").write_text(f"{governor}\n")
    (cpus / "online").write_text("0-1,3\n")
    proc.mkdir()
    (proc / "cpuinfo").write_text("model name\t: Abacus 9\nflags\t\t: fpu\n")
    (proc / "cmdline").write_text("quiet tsc=noirqtime\n")
    (proc / "stat").write_text("cpu 1 0 1 1 0 0 0 0 0 0\nintr 1\nctxt 1\nsoftirq 1\n")

    found = environment(sys, proc)
    assert found.cpu_model == "Abacus 9"
    assert found.online_cpus == "0-1,3"
    assert found.governors == ("performance", "schedutil")
    assert found.hypervisor is None
    assert found.clocksource is None


def test_this_host_goes_through_json() -> None:
    found = asdict(environment())
    assert json.loads(json.dumps(found)) == {**found, "governors": list(found["governors"])}
    assert found["kernel"].startswith(os.uname().release)
    assert datetime.fromisoformat(found["date"]).utcoffset() is not None

"""What a recording refuses to write of a host that is not quiet."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from nettax.kernel import proc_pid
from nettax.kernel.proc_pid import SchedStat

PATH = Path(__file__).parents[2] / "docs/tutorial/why_slow.py"


def tutorial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("why_slow", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["why_slow"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("billed", "waited", "stopped", "fine"),
    [
        (0.99, 0.0, False, True),
        (0.90, 0.0, False, False),
        (0.90, 0.0, True, True),
        (0.99, 0.1, False, False),
    ],
)
def test_the_service_must_be_alone(
    billed: float, waited: float, stopped: bool, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tutorial()
    stage = object.__new__(module.Stage)
    stage.service, stage.cpu = type("Service", (), {"pid": 7}), 1
    stage._checked = 0, SchedStat(0, 0, 0)
    now = 10**9
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    after = SchedStat(int(billed * now), int(waited * now), 0)
    monkeypatch.setattr(proc_pid, "schedstat", lambda pid: after)
    if fine:
        stage.check_alone(module.Pace(), stopped=stopped)
    else:
        with pytest.raises(RuntimeError, match="too busy"):
            stage.check_alone(module.Pace(), stopped=stopped)

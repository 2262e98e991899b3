"""The C that takes a recording's bytes, under the compiler's watch for what C must not do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nettax import native

WATCH = "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
UNDER_WATCH = """
import sys
import pytest
from nettax import native
native.PATH = sys.argv[1]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not full", *sys.argv[2:]]))
"""
TESTS = (
    *("test_replay.py", "test_events_fuzz.py", "test_events_order.py"),
    *("test_events_perf.py", "test_events_recorded.py"),
    *("test_timeline.py", "test_bursts.py", "test_chrome_trace.py"),
)


def runtime(name: str) -> str:
    """Where gcc has a library of its own."""
    command = ("gcc", f"-print-file-name={name}")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_recordings_under_asan_and_ubsan(tmp_path: Path) -> None:
    sources = sorted(Path(native.PATH).parent.glob("*.c"))
    library = tmp_path / "libnettax.so"
    flags = ("-std=gnu11", "-O1", "-g", "-fPIC", "-shared", "-pthread", *WATCH)
    subprocess.run(["gcc", *flags, *map(str, sources), "-o", str(library)], check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{runtime('libasan.so')} {runtime('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own, at its end
    }
    tests = [str(Path(__file__).with_name(name)) for name in TESTS]
    run = subprocess.run(
        [sys.executable, "-c", UNDER_WATCH, str(library), *tests],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert " passed" in run.stdout

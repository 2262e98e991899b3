"""The unit of `nettax export`, under a real systemd: as an ordinary user, in its sandbox.

The systemd is the first process of a container (systemd-nspawn) whose root is this host's, under
an overlay that is thrown away.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(
        not Path("/usr/lib/systemd/systemd").exists() and not Path("/lib/systemd/systemd").exists(),
        reason="systemd is not installed",
    ),
]

UNIT = Path(__file__).parents[2] / "contrib/nettax-export.service"
MOST_EXPOSED = 2.0  # of 10, by systemd-analyze; a plain service has 9.6
MODULES = ("nettax", "click", "pyroute2")
PYTHON = "/usr/bin/python3"
LAUNCHER = f'#!/bin/sh\nPYTHONPATH=/usr/local/lib/site exec {PYTHON} -m nettax "$@"\n'
# Asks the service from beside it, writes down what it finds, and turns the container off.
CHECK = """
    [Unit]
    DefaultDependencies=no
    Wants=nettax-export.service
    After=nettax-export.service
    [Service]
    Type=oneshot
    StandardOutput=append:/results/found
    ExecStart=/bin/sh /results/check
    ExecStopPost=/bin/systemctl poweroff --force --force --no-block
"""
SCRIPT = """
    systemctl show nettax-export -p ActiveState -p Result
    pid=$(systemctl show -P MainPID nettax-export)
    grep -E 'Uid|Groups|Cap|NoNewPrivs|Seccomp:' /proc/$pid/status
    curl -s -m 20 http://127.0.0.1:10924/metrics
    systemctl stop nettax-export
    systemctl show nettax-export -p ActiveState -p Result
    journalctl -u nettax-export -o cat
"""


def test_little_is_exposed() -> None:
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for nettax-export.service: ([\d.]+)", run.stdout)
    assert found, run.stderr
    assert float(found[1]) <= MOST_EXPOSED


@pytest.mark.full
def test_it_runs_in_its_sandbox(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "check").write_text(textwrap.dedent(SCRIPT))
    check = tmp_path / "check.service"
    check.write_text(textwrap.dedent(CHECK))
    root = tmp_path / "root"
    root.mkdir()
    binds = {installed(tmp_path): "/usr/local"}
    binds |= {unit: f"/etc/systemd/system/{unit.name}" for unit in (UNIT, check)}
    words = [
        *(str(nspawn(tmp_path)), "--quiet", f"--directory={root}", "--volatile=overlay"),
        *("--machine=nettax-test", "--register=no", "--keep-unit", "--boot"),
        *("--capability=CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf"),
        *(f"--bind-ro={source}:{target}" for source, target in binds.items()),
        *(f"--bind={results}:/results", "systemd.unit=check.service"),
    ]
    script = f'mount --bind / "{root}" && exec env UNIFIED_CGROUP_HIERARCHY=1 "$@"'
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    shutil.rmtree("/run/systemd/nspawn/propagate/nettax-test", ignore_errors=True)
    assert (results / "found").exists(), run.stdout + run.stderr
    found = (results / "found").read_text()
    assert "ActiveState=active\n" in found, found
    assert "running as uid" in found
    assert "nettax_workload_own_seconds_total{" in found
    assert 'name="nettax-export.service"' in found
    assert "nettax_exporter_scrape_failures_total 0\n" in found
    assert re.search(r"^CapEff:\t0+$", found, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", found, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", found, re.MULTILINE)
    assert not re.search(r"^Uid:\t0\t", found, re.MULTILINE)
    assert found.count("Result=success") == 2
    assert "ActiveState=inactive\n" in found


def installed(directory: Path) -> Path:
    """nettax and what it needs, where any user may read it: a tree to put at /usr/local."""
    tree = directory / "local"
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.submodule_search_locations
        (source,) = spec.submodule_search_locations
        shutil.copytree(source, tree / "lib/site" / name)
    launcher = tree / "bin/nettax"
    launcher.parent.mkdir()
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    return tree


def nspawn(directory: Path) -> Path:
    """systemd-nspawn: the one that is installed, or of Debian's package, unpacked."""
    if found := shutil.which("systemd-nspawn"):
        return Path(found)
    try:
        subprocess.run(["apt-get", "download", "systemd-container"], cwd=directory, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("systemd-nspawn is not here, nor in reach of apt-get")
    (package,) = directory.glob("systemd-container_*.deb")
    subprocess.run(["dpkg", "-x", package, directory / "nspawn"], check=True)
    return directory / "nspawn/usr/bin/systemd-nspawn"

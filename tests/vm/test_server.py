"""The server in the kernel: right answers, bounded work items, and a clean end."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.kmod_http import FUZZED, built

from nettax.lab import kmod
from nettax.lab.vm import Module, Vm, build, kernels

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
SOURCE = Path(__file__).parents[2] / "kmod"
SERVED = Path(__file__).with_name("served.py")
STATS = "/sys/kernel/debug/nettax_server/stats"
TUNED = Path(__file__).with_name("tuned.py")
UNLOADED = Path(__file__).with_name("unloaded.py")
MODES = ("kthread", "workqueue", "workqueue-unbound")


def said(vm: Vm, *words: str) -> Any:
    result = vm.run(["python3", "-IS", str(SERVED), *words])
    assert result.code == 0, result.stderr.decode()
    return json.loads(result.stdout)


def serving(*parameters: str) -> Module:
    return Module(SOURCE, parameters)


def left_by(source: Path, series: str, rounds: int, *parameters: str) -> Any:
    """What unloading it so often leaves in a guest that knows who allocated each object."""
    module = build.built(kernels.find(series), Module(source)).files[0]
    with Vm(series, append="slab_nomerge slub_debug=U") as vm:
        result = vm.run(["python3", "-S", str(UNLOADED), str(module), str(rounds), *parameters])
    assert result.code == 0, result.stderr.decode()
    found = json.loads(result.stdout)
    print("left:", found)
    return found


@pytest.mark.parametrize("protocol", ["echo", "http"])
@pytest.mark.parametrize("mode", MODES)
def test_unloaded_with_live_connections(mode: str, protocol: str, series: str) -> None:
    """50 times with 50: nothing is left of what connections are made of, and nothing grows."""
    found = left_by(SOURCE, series, 50, f"mode={mode}", f"protocol={protocol}")
    assert found["log"] == []
    assert found["threads"] == []
    first, *later = found["counts"]
    assert later == [first] * 4
    assert found["grown"] == {}, "one object a load would make a stack grow in each interval"


def planted(to: Path) -> Path:
    """The server's sources, but 100 bytes are lost at each load, and 3000 at each connection."""
    shutil.copytree(SOURCE, to, dirs_exist_ok=True)
    text = (to / "connection.c").read_text()
    lost = "static void *volatile lost;\n\nint connections_prepare"
    text = text.replace("int connections_prepare", lost)
    for begin, size in (("\tcache = KMEM_CACHE", 100), ("\tconn->sock = sock;", 3000)):
        assert text.count(begin) == 1
        text = text.replace(begin, f"\tlost = kmalloc({size}, GFP_KERNEL);\n{begin}")
    (to / "connection.c").write_text(text)
    return to


def test_planted_leaks_are_found(tmp_path: Path, series: str) -> None:
    """The test above sees one object a load, and one a connection, and tells them from all else."""
    rounds = 20
    grown = left_by(planted(tmp_path), series, rounds)["grown"]
    by_cache = {stack.partition(": ")[0]: counts for stack, counts in grown.items()}
    assert by_cache == {
        "kmalloc-128": [4, 8, 12, 16, 20],
        "kmalloc-4k": [200, 400, 600, 800, 1000],
    }


@pytest.mark.parametrize(
    ("parameters", "answered"),
    [
        (("mode=kthread",), 400),
        (("mode=workqueue",), 256),
        (("mode=workqueue-unbound",), 256),
        (("mode=workqueue", "max_active=512"), 400),
        (("mode=workqueue-unbound", "max_active=512"), 400),
    ],
)
def test_held_connections(parameters: tuple[str, ...], answered: int, series: str) -> None:
    """A work item that waits is active, and 256 are by default: workqueue.h, WQ_DFL_ACTIVE."""
    with Vm(series, cpus=1, modules=[serving(*parameters, "backlog=512")]) as vm:
        assert said(vm, "held", "400") == answered


@pytest.mark.parametrize("mode", MODES)
def test_http(mode: str, series: str) -> None:
    with Vm(series, modules=[serving("protocol=http", f"mode={mode}", "timeout_ms=1000")]) as vm:
        found = said(vm, "http")
    assert found == {
        "plain": [200],
        "pipelined": [200, 200, 200],
        "head": [200, 200],
        "old": [200],
        "old kept": [200, 200],
        "closed": [200],
        "elsewhere": [404, 200],
        "length": [405, 200],
        "chunks": [405, 200],
        "no host": [400],
        "bare LF": [400],
        "folded": [400],
        "both": [400],
        "lengths": [400],
        "much": [413],
        "long": [414],
        "large": [431],
        "unknown": [501],
        "version": [505],
        "coding": [501],
        "expects": [417],
        "slow": [408],
        "nothing": [],
    }


CLIENTS = {
    "curl": "curl -sS -d @/usr/bin/env -o /dev/null -w %{http_code} URL; curl -sSi URL URL URL",
    "python": """python3 -IS -c 'if True:
        from http.client import HTTPConnection
        each = HTTPConnection("127.0.0.1", 8081)
        for number in range(100):
            each.request(("GET", "POST")[number % 2], "/", body=bytes(number % 2))
            answer = each.getresponse()
            print(answer.status, len(answer.read()), answer.will_close)'""",
    "ab": "ab -q -k -n 1000 -c 20 URL",
    "ab, closing": "ab -q -n 300 -c 20 URL",
    "h2load": "h2load --h1 -n 1000 -c 10 -m 8 URL",
    "wrk": "wrk -d 2 -t 1 -c 10 URL",
}


@pytest.mark.parametrize("mode", MODES)
def test_real_clients(mode: str, series: str) -> None:
    """None sees a fault, and the server has counted what they count."""
    if missing := [name for name in ("curl", "ab", "h2load", "wrk") if not shutil.which(name)]:
        pytest.skip(f"needs {', '.join(missing)}")
    said = {}
    with Vm(series, modules=[serving("protocol=http", f"mode={mode}")]) as vm:
        for name, command in CLIENTS.items():
            result = vm.run(["sh", "-c", command.replace("URL", "http://127.0.0.1:8081/")])
            said[name] = result.stdout.decode()
            assert result.code == 0, (name, result.stderr.decode())
        vm.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"])
        stats = kmod.parse_stats(vm.run(["cat", STATS]).stdout.decode())
    assert said["curl"].startswith("405")
    assert said["curl"].count("HTTP/1.1 200 OK") == said["curl"].count("The kernel answers.") == 3
    assert said["python"] == "200 20 False\n405 18 False\n" * 50
    for name, count in (("ab", 1000), ("ab, closing", 300)):
        assert f"Complete requests:      {count}\n" in said[name]
        assert "Failed requests:        0\n" in said[name]
        assert "Non-2xx" not in said[name]
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in said["h2load"]
    assert "status codes: 1000 2xx" in said["h2load"]
    assert "Socket errors" not in said["wrk"]
    assert "Non-2xx" not in said["wrk"]
    wrk = int(said["wrk"].partition(" requests in")[0].split()[-1])
    least = 4 + 100 + 1000 + 300 + 1000 + wrk
    assert least <= stats["messages"] <= least + 10 + 20, "what was under way at the end"
    assert stats["refused"] == 1 + 50


def test_each_parameter_acts(series: str) -> None:
    module = build.built(kernels.find(series), serving()).files[0]
    with Vm(series, exact=True) as vm:
        result = vm.run(["python3", "-IS", str(TUNED), str(module)])
    assert result.code == 0, result.stderr.decode()
    found = json.loads(result.stdout)
    little, much = found.pop("rcvbuf")
    assert little < 1 << 16 < 1 << 20 < much, "bytes"
    idle, working = found.pop("work_us")
    assert idle < 50 <= working, "ms of ten round trips, with 5 ms of work in each"
    assert found == {
        "mode": {
            "kthread": [3, 0, 0],
            "workqueue": [0, 3, 0],
            "workqueue-unbound": [0, 0, 3],
        },
        "port, address": [True, True, False],
        "namespace": [0, False],
        "backlog": 5 + 1,
        "nodelay": [10, 2],  # what Nagle's algorithm lets go at once, and all else
        "cork": 1,
        "max_active": 3,
        "reuseaddr": [False, True],
        "timeout_ms": ["408", True],
        "stats": [3, 4, 1, 0, 0, 0, True],
        "refused": [1] * 6,
    }


@pytest.mark.parametrize("mode", MODES)
def test_requests_of_which_few_are_right(mode: str, series: str, tmp_path: Path) -> None:
    """For a minute of the guest's time; it answers as its text does outside the kernel."""
    library = built(tmp_path, "-DLIBRARY", "-shared", "-fPIC")
    with Vm(series, exact=True, modules=[serving("protocol=http", f"mode={mode}")]) as vm:
        result = vm.run(["python3", "-S", str(FUZZED), str(library), "60", "7"])
    assert result.code == 0, result.stderr.decode()
    found = json.loads(result.stdout)
    print(found)
    assert found["wrong"] == []
    assert found["inputs"] > 50


def test_on_ones_own_host(series: str) -> None:
    """As its user: the guest is the host, to which headers are given where packages put them."""
    module = build.built(kernels.find(series), serving()).files[0]
    nettax = f"{sys.executable} -m nettax kmod"
    steps = f"""
        mkdir -p /lib/modules/{kernels.find(series).release}
        ln -s {kernels.find(series).headers} /lib/modules/{kernels.find(series).release}/build
        mount -t debugfs none /sys/kernel/debug
        {nettax} build && {nettax} load </dev/null
        {nettax} load --yes mode=workqueue protocol=http && curl -s http://127.0.0.1:8081/
        {nettax} load; {nettax} load mode=x; {nettax} status --json
        {nettax} unload && {nettax} status; {nettax} unload; {nettax} load -y mode=x
    """
    with Vm(series) as vm:
        result = vm.run(["sh", "-c", steps])
    said = result.stdout.decode().splitlines()
    errors = result.stderr.decode()
    assert said[:2] == [str(module), "The kernel answers."], errors
    status = json.loads("\n".join(said[2:-1]))
    assert status["parameters"]["mode"] == "workqueue"
    assert (status["stats"]["accepted"], status["stats"]["messages"]) == (1, 1)
    assert said[-1] == "not loaded"
    assert "can crash or corrupt the whole host" in errors
    assert errors.count("nobody said yes") == 1
    assert errors.count("is loaded: unload it first") == 2
    assert errors.count("nettax_server is not loaded") == 1
    assert "insmod failed" in errors

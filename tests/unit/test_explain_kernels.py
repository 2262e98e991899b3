"""`explain` on two of Debian's kernels: 65 symbols, each labelled by another source than its own.

The fixtures are what those kernels say of the symbols (kallsyms, available_filter_functions, the
kprobe blacklist), cut to them. Labels were given by hand: labels.tsv tells by what. Headers and
modules are those of the lab's cache; without them only symbols that need neither are looked at.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from nettax.functions.explain import Explanation, Kernel, explain, module_searcher
from nettax.functions.headers import Headers
from nettax.kernel.ftrace import kprobe_blacklist, traceable
from nettax.kernel.kallsyms import Kallsyms
from nettax.kernel.module_file import module_files
from nettax.lab.vm import kernels

FIXTURES = Path(__file__).parent.parent / "fixtures/functions"
SERIES = ("6.1", "6.12")
WITHOUT_HEADERS = ("function", "renamed", "blacklisted", "data", "notrace")
INSTEAD = {
    "kthread_run": {"kthread_create_on_node", "wake_up_process"},
    "kthread_create": {"kthread_create_on_node"},
    "queue_work": {"queue_work_on"},
    "queue_delayed_work": {"queue_delayed_work_on"},
    "napi_schedule": {"__napi_schedule"},
    "spin_lock": {"_raw_spin_lock"},
    "alloc_skb": {"__alloc_skb"},
    "dev_queue_xmit": {"__dev_queue_xmit"},
    "wait_event": {"schedule"},
}


def labels(series: str) -> dict[str, str]:
    with (FIXTURES / "labels.tsv").open(newline="") as file:
        return {row["symbol"]: row[series] for row in csv.DictReader(file, delimiter="\t")}


@pytest.fixture(scope="module", params=SERIES)
def series(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cached(series: str) -> kernels.Kernel | None:
    found = [k for k in kernels.cached() if k.release.startswith(f"{series}.") and k.headers]
    return found[-1] if found else None


@pytest.fixture(scope="module")
def kernel(series: str) -> Kernel:
    """As it tells of itself, without headers and modules."""
    root = FIXTURES / series
    functions: dict[str, frozenset[str]] = {}
    for name, module in traceable(root / "available_filter_functions"):
        functions[name] = functions.get(name, frozenset()) | {module or ""}
    return Kernel(
        Kallsyms.read(root / "kallsyms"),
        functions,
        kprobe_blacklist(root / "blacklist"),
        Headers([]),
    )


@pytest.fixture(scope="module")
def complete(series: str, kernel: Kernel, cached: kernels.Kernel | None) -> Kernel:
    """With headers and modules of the lab's cache: all symbols are looked up at once."""
    if cached is None or cached.headers is None:
        pytest.skip(f"needs headers of {series}: nettax lab vm run --kernel {series} --module DIR")
    headers = Headers([cached.headers])
    names = list(labels(series))
    headers.look_up(names)
    headers.look_up(
        [word for name in names for d in headers.definitions(name) for word in d.calls(name)]
    )
    files = module_files(cached.modules) if cached.modules else {}
    in_modules = module_searcher(files, frozenset(), {})
    return replace(kernel, headers=headers, in_modules=in_modules)


def test_enough_of_every_kind() -> None:
    kinds = [kind for series in SERIES for kind in labels(series).values()]
    assert len(labels("6.1")) >= 60
    assert set(kinds) == {*WITHOUT_HEADERS, "macro", "static inline", "module", "unknown"}


def test_what_the_kernel_itself_tells(series: str, kernel: Kernel) -> None:
    wanted = {name: k for name, k in labels(series).items() if k in WITHOUT_HEADERS}
    found = {name: explain(name, kernel).kind for name in wanted}
    assert found == wanted


@pytest.mark.full
def test_all_kinds(series: str, complete: Kernel) -> None:
    found: dict[str, Explanation] = {name: explain(name, complete) for name in labels(series)}
    assert {name: each.kind for name, each in found.items()} == labels(series)
    for name, wanted in INSTEAD.items():
        assert wanted <= {way[-1].name for way in found[name].instead}, name
    for each in found.values():
        assert each.kprobe is (each.kind == "function"), each.symbol

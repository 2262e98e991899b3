"""The tutorial's script, in its short form: its story holds on any machine, and leaves nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nettax.kernel import cpus

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(len(cpus.online()) < 2, reason="takes two CPUs"),
]


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look for their own
    spec.loader.exec_module(module)
    return module


def row(output: str, task: str) -> list[float]:
    """The shares of a task's row of `nettax stat`, from billed on."""
    (line,) = re.findall(rf"^{task} +\d+ (.*)$", output, re.MULTILINE)
    return [0.0 if cell == "·" else float(cell) for cell in line.split()]


@pytest.mark.full
def test_the_story() -> None:
    tutorial = script(DOCS / "tutorial/why_slow.py")
    outputs, gain = tutorial.run(tutorial.SHORT)

    assert outputs.keys() == tutorial.recorded.blocks(DOCS / "tutorial/index.md").keys()
    billed, own, _, net, *_ = row(outputs["stat"], "signer")
    assert net > 0.1 * billed
    assert own < 0.9 * billed
    assert re.search(r"irq_exit +[1-9]", outputs["triggers"])
    before, after = outputs["mask"].splitlines()[-1], outputs["fix"]
    assert int(before, 16) == 1 << cpus.online()[-1]
    assert f"echo {1 << cpus.online()[-2]:x} >" in after
    assert row(outputs["after"], "signer")[3] < net / 2
    jobs = {name: gain.of(name, lambda run: run.value.jobs_per_s) for name in ("before", "after")}
    assert jobs["after"].median > jobs["before"].median
    assert not list(Path("/run/netns").glob(f"nettax-{os.getpid()}-*"))


def test_every_recorded_block_has_a_scene() -> None:
    """What a page shows as recorded can be recorded again."""
    examples = (DOCS / "tables/examples.py").read_text()
    sys.path.insert(0, str(DOCS / "_ext"))
    import recorded  # type: ignore[import-not-found]

    for page in DOCS.glob("tables/*.md"):
        for name in recorded.blocks(page):
            assert f'yield "{name}"' in examples, (page, name)

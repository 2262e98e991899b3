"""Running what is built, and what is installed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **more: str) -> str:
    """Run a command at the root, `more` in its environment; what it printed. Fails if it does."""
    environment = {**os.environ, **more}
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """A virtual environment with nothing but the wheel and what it needs."""

    directory: Path
    home: Path

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run its nettax, with nothing of this environment."""
        return subprocess.run(
            [self.directory / "bin/nettax", *arguments],
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **more},
            cwd=self.home,
            capture_output=True,
            text=True,
        )

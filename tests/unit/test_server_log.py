"""A server's output on the disk: its end is there, the rest given back, whatever it prints."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from nettax.experiment.server_log import ServerLog
from nettax.experiment.soak_errors import MOST_AT_ONCE, LogErrors


def test_only_the_end_stays() -> None:
    with ServerLog(kept_bytes=1 << 20) as log:
        say = "head -c 50000000 /dev/zero | tr '\\0' '\\n'; echo the end"
        subprocess.run(["sh", "-c", say], stdout=log.fileno(), check=True)
        log.shorten()
        told = log.path.stat()
        assert told.st_size == 50_000_000 + len("the end\n")
        assert told.st_blocks * 512 < 3 << 20
        words = log.last_words()
        assert words.startswith("the end (48,") and words.endswith("bytes before were not kept)")
        path = log.path
    assert not path.exists()


def test_what_is_short_is_kept() -> None:
    with ServerLog() as log:
        assert log.last_words() == "it printed nothing."
        subprocess.run(
            ["sh", "-c", "echo one; echo two >&2"],
            stdout=log.fileno(),
            stderr=log.fileno(),
            check=True,
        )
        log.shorten()
        assert (log.path.read_text(), log.last_words()) == ("one\ntwo\n", "two")


def test_errors_in_what_is_too_much_are_passed_over_and_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("accept: Broken pipe\n")
    log = LogErrors(path)
    assert log.read() == {"EPIPE": 1}
    with path.open("r+b") as file:
        file.truncate(MOST_AT_ONCE + 1000)
        file.seek(0, os.SEEK_END)
        file.write(b"\nread: Connection reset by peer\n")
    found = log.read()
    assert found["EPIPE"] == found["ECONNRESET"] == 1
    assert 0 < found["bytes passed over"] <= 1031
    assert log.read() == found

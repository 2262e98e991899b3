"""The readers of recordings, and the replay, under a fuzzer that is guided by coverage.

    pip install atheris
    python bench/fuzz_events.py CORPUS -max_total_time=600 -max_len=65536 -timeout=10

CORPUS is a directory, filled with the recordings of tests/fixtures/events where it is empty. What
breaks is left in a file crash-…; beside that, memory is bounded to 4 GiB.
"""

from __future__ import annotations

import gzip
import os
import resource
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["nettax.events"]):
    from nettax.errors import NettaxError
    from nettax.events import native_file, perf, text, trace_dat  # noqa: F401
    from nettax.events.replay import Replay
    from nettax.events.sniff import open_recording

FIXTURES = Path(__file__).parents[1] / "tests/fixtures/events"
MEMORY = 4 << 30


def play(data: bytes) -> None:
    """Read and replay what may be a recording: times in order, no error but one for the user."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(data)
        file.flush()
        try:
            with open_recording(file.name) as recording:
                player, last = Replay(recording.tables), 0
                for chunk in recording.chunks():
                    times = chunk["time_ns"]
                    assert (times[1:] >= times[:-1]).all()
                    if len(times):
                        assert int(times[0]) >= last
                        last = int(times[-1])
                    player.feed(chunk)
                player.finish()
        except NettaxError as error:
            assert str(error)


def main() -> None:
    """Fill the corpus, then fuzz until told to stop."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    corpus = Path(sys.argv[1])
    corpus.mkdir(exist_ok=True)
    for path in FIXTURES.iterdir():
        raw = path.read_bytes()
        target = corpus / path.name.removesuffix(".gz")
        if not target.exists():
            target.write_bytes(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    atheris.Setup(sys.argv, play)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The tutorial's service: it signs documents, one after the other, as fast as it can.

``python service.py COUNTER``: each job is about 2 ms of pure computation. How many are done is kept
in the first 8 bytes of the file COUNTER, and told once a second on standard output.
"""

import hashlib
import mmap
import struct
import sys
import time
from pathlib import Path

JOB_ITERATIONS = 4000


def main(counter: Path) -> None:
    Path("/proc/self/comm").write_text("signer")
    with counter.open("r+b") as file:
        page = mmap.mmap(file.fileno(), 8)
    done, told, next_line = 0, 0, time.monotonic() + 1
    while True:
        hashlib.pbkdf2_hmac("sha256", b"document", b"key", JOB_ITERATIONS)
        done += 1
        struct.pack_into("=Q", page, 0, done)
        if time.monotonic() >= next_line:
            print(f"{done - told} jobs/s", flush=True)
            told, next_line = done, next_line + 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))

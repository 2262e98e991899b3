"""Run a command some times: ``python -IS rusage.py RUNS COMMAND …``; a line of figures each.

Wall time in s, CPU time in s, greatest resident size in bytes. A script by itself: a process
inherits the size of the one that started it as its own greatest (exec_mmap() in fs/exec.c), so
that one has to be small. Here that is some 9 MB, below which nothing can be told.
"""

import os
import subprocess
import sys
import time

if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        start = time.perf_counter()
        process = subprocess.Popen(
            sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        if status:
            sys.exit(f"{sys.argv[2]} failed: status {os.waitstatus_to_exitcode(status)}")
        print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

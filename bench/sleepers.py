"""Tasks for the ledger to account for: ``python -IS sleepers.py NUMBER``.

So many threads that sleep. Each line on standard input wakes every thread once; the answer is a
line on standard output when all have run and sleep again.
"""

import sys
import threading

if __name__ == "__main__":
    number = int(sys.argv[1])
    threading.stack_size(64 * 1024)
    gate = threading.Condition()
    turn, awake = 0, number

    def sleep() -> None:
        """Count oneself in, and wait for the next turn."""
        global awake
        with gate:
            while True:
                mine = turn
                awake -= 1
                if not awake:
                    print(flush=True)
                while turn == mine:
                    gate.wait()

    for _ in range(number):
        threading.Thread(target=sleep, daemon=True).start()
    for _line in sys.stdin:
        with gate:
            turn, awake = turn + 1, number
            gate.notify_all()

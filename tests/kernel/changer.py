"""A process that changes the host in every way there is, for tests to kill.

``changer.py hold`` makes all the changes, says so, and waits; ``changer.py churn`` makes and undoes
them in turns, a line for each turn.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from nettax.host import Host

MASK = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")
# Each outlives its parent unless somebody sees to it.
STUBBORN = """
import ctypes, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG: none, as after exec of a setuid program
print(flush=True)
signal.pause()
"""


def change(host: Host) -> None:
    sender, receiver = host.namespace("sender"), host.namespace("receiver")
    host.veth("veth0", sender, "veth0", receiver)
    host.write(MASK, "2" if MASK.read_text().strip().endswith("0") else "0")
    cgroups = [host.cgroup("v2"), host.cgroup("quota", "cpu")]
    for cgroup in cgroups:
        (cgroup / "inner").mkdir()
        host.spawn(["sleep", "1000"], cgroup=cgroup / "inner", netns=sender)
    host.spawn([sys.executable, "-ISc", STUBBORN], stdout=sys.stdout)


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        with Host() as host:
            change(host)
            signal.pause()
    while True:
        with Host() as host:
            change(host)
        print(flush=True)

"""/proc/PID: what the kernel says of one process or thread.

A task that ends before or while it is read is everyday, not an error: every reader of one task
returns None for it. So it does for a task that ``hidepid`` hides from this user.

Beware of what the kernel sums: /proc/PID/stat adds up the whole process, dead threads included,
while /proc/PID/schedstat tells of the main thread alone (fs/proc/array.c, do_task_stat;
fs/proc/base.c, proc_pid_schedstat). With `tid` both tell of that one thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from nettax.kernel.files import StrPath, list_names, read_text
from nettax.kernel.proc_stat import TICK_NS

__all__ = ["SchedStat", "TaskStat", "cmdline", "comm", "pids", "schedstat", "task_stat", "threads"]

# Of a task that has ended, and of one that hidepid=2 or 1 hides.
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True)
class TaskStat:
    """/proc/PID/stat, the fields that tell who a task is and what it was billed."""

    pid: int
    comm: str
    state: str
    ppid: int
    flags: int
    """PF_* of include/linux/sched.h."""
    utime_ns: int
    stime_ns: int
    num_threads: int
    start_ns: int
    """Start, in ns since boot (suspend included), rounded down to a USER_HZ tick."""
    last_cpu: int

    @property
    def billed_ns(self) -> int:
        """CPU time that the kernel charges to the task: what top shows."""
        return self.utime_ns + self.stime_ns


@dataclass(frozen=True, slots=True)
class SchedStat:
    """/proc/PID/schedstat of one thread (Documentation/scheduler/sched-stats.rst)."""

    cpu_ns: int
    """Time on a CPU. Exact, not sampled by ticks; interrupts inside it are the task's own,
    unless the kernel accounts for them separately (IRQ_TIME_ACCOUNTING)."""
    run_delay_ns: int
    """Time runnable and waiting for a CPU."""
    slices: int
    """Times that it was put on a CPU."""

    def __sub__(self, earlier: SchedStat) -> SchedStat:
        return SchedStat(
            self.cpu_ns - earlier.cpu_ns,
            self.run_delay_ns - earlier.run_delay_ns,
            self.slices - earlier.slices,
        )


def pids(proc: StrPath = "/proc") -> list[int]:
    """Return the processes that exist now."""
    return [int(name) for name in list_names(proc) if name.isdigit()]


def threads(pid: int, proc: StrPath = "/proc") -> list[int]:
    """Return the threads of a process; none if it has ended."""
    try:
        return [int(name) for name in list_names(f"{proc}/{pid}/task")]
    except _GONE:
        return []


def task_stat(pid: int, tid: int | None = None, proc: StrPath = "/proc") -> TaskStat | None:
    """Read stat of a process, or with `tid` of one of its threads; None if it has ended."""
    text = _read(pid, tid, "stat", proc)
    return None if text is None else _parse_stat(text)


def schedstat(pid: int, tid: int | None = None, proc: StrPath = "/proc") -> SchedStat | None:
    """Read schedstat of a thread, the main one without `tid`; None if it has ended."""
    text = _read(pid, tid, "schedstat", proc)
    return None if text is None else SchedStat(*map(int, text.split()))


def comm(pid: int, tid: int | None = None, proc: StrPath = "/proc") -> str | None:
    """Read the name of a task, at most 15 bytes unless a kernel thread; None if it has ended."""
    text = _read(pid, tid, "comm", proc)
    return None if text is None else text.removesuffix("\n")


def cmdline(pid: int, proc: StrPath = "/proc") -> tuple[str, ...] | None:
    """Read the arguments; empty for kernel threads and zombies, None if the process has ended."""
    text = _read(pid, None, "cmdline", proc)
    if text is None:
        return None
    return tuple(text.removesuffix("\0").split("\0")) if text else ()


def _read(pid: int, tid: int | None, name: str, proc: StrPath) -> str | None:
    where = f"{proc}/{pid}" if tid is None else f"{proc}/{pid}/task/{tid}"
    try:
        return read_text(f"{where}/{name}")
    except _GONE:
        return None


def _parse_stat(text: str) -> TaskStat:
    # A task may be called ") R (": the name ends at the last parenthesis.
    opening, closing = text.index("("), text.rindex(")")
    fields = text[closing + 1 :].split()

    def field(number: int) -> int:
        """The field that proc_pid_stat(5) gives this number; the state is the third."""
        return int(fields[number - 3])

    return TaskStat(
        pid=int(text[:opening]),
        comm=text[opening + 1 : closing],
        state=fields[0],
        ppid=field(4),
        flags=field(9),
        utime_ns=field(14) * TICK_NS,
        stime_ns=field(15) * TICK_NS,
        num_threads=field(20),
        start_ns=field(22) * TICK_NS,
        last_cpu=field(39),
    )

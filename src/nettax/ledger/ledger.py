"""The instrument: load the programs, arm the CPUs, read the counters."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from nettax.errors import MissingFeature, NettaxError
from nettax.kernel import bpf, cpus, percpu, proc_stat, programs, softnet, vmlinux
from nettax.kernel.accounting import accounting
from nettax.kernel.cgroup import Cgroups
from nettax.ledger.charges import FIELDS, Charges
from nettax.ledger.irqs import Lines, Place
from nettax.ledger.reading import Reading
from nettax.ledger.tasks import EXITED, Decoder
from nettax.ledger.toll import Toll

__all__ = ["Ledger"]

READ, ARM, DISARM = range(3)  # enum request in bpf/ledger.h
CALLED = ("settle",)  # programs that are run by us, not by a tracepoint
WORK = ("workqueue_execute_start", "workqueue_execute_end")
MAX_CGROUPS = 4096
MAX_TASKS = 16384  # accounts of live tasks and of those that exited since the last reading


class Ledger:
    """The CPU bill of networking for this host, from entering the context to leaving it.

    `began` is the reading at entering.

    ::

        with Ledger() as ledger:
            time.sleep(1)
            interval = ledger.finish() - ledger.began

    or, as often as one likes, `read() - earlier`. The first way is exact; a `read()` while tasks
    run on is skewed, between CPUs and tasks, by the millisecond that reading takes.

    Needs CAP_BPF and CAP_PERFMON. One process may have several ledgers; each pays for itself.
    """

    def __init__(
        self,
        *,
        cpus: Iterable[int] | None = None,
        follow: int | None = None,
        functions: range = range(0),
        histograms: bool = False,
        time_programs: bool = False,
        toll: Toll | None = None,
        by_cgroup: bool = False,
        keep_tasks: bool = True,
        max_tasks: int = MAX_TASKS,
        max_cgroups: int = MAX_CGROUPS,
        drop_every: int = 0,
        raw_tracepoints: bool = False,
        moments: int | None = None,
    ) -> None:
        """Say what to account for; nothing is loaded yet.

        `cpus`: account for these only (default: all online). `follow`: mark this task and what it
        forks from now on. `functions`: the addresses of a module's, say: charge what kernel threads
        and work items spend in them to the function, in `cgroups` under its address, and mark who
        runs them as followed; takes `by_cgroup`. `histograms`: keep log2 run times.
        `time_programs`: have the kernel time the ledger's own programs (needs CAP_SYS_ADMIN, and
        costs). `toll`: the calibration to charge. `by_cgroup`: have the kernel also add up what the
        tasks of each cgroup are charged. `keep_tasks`: False reads no task, and has the kernel
        forget each as it ends, so that readings may be hours apart. `max_tasks`, `max_cgroups`: for
        how many there is room; what finds none is told as such. `drop_every`: lose every Nth event,
        to test that it shows. `raw_tracepoints`: do not try to attach by BTF. `moments`: for tests,
        a map's descriptor: take the times of interrupts from there, where programs that were
        attached before have left them.
        """
        self._chosen = None if cpus is None else tuple(cpus)
        self._follow = follow
        self._functions = functions
        self._want_histograms = histograms
        self._time_programs = time_programs
        self._toll = toll
        self._by_cgroup = by_cgroup
        self._keep_tasks = keep_tasks
        self._max_tasks = max_tasks
        self._max_cgroups = max_cgroups
        self._drop_every = drop_every
        self._raw = raw_tracepoints
        self._moments = moments
        self._stats_fd: int | None = None
        self._running = False
        self._exited: dict[bytes, bytes] = {}

    def __enter__(self) -> Self:
        """Load, attach and arm.

        :raises MissingFeature: no BTF, no libbpf, or a PREEMPT_RT kernel; with `functions`, one
            whose BTF does not tell what its workers run
        :raises MissingPrivilege: CAP_BPF or CAP_PERFMON is lacking
        :raises UsageError: a CPU that is not online
        """
        programs.check_kernel()
        if self._functions and vmlinux.member_offset("worker", "current_func") is None:
            raise MissingFeature("this kernel's BTF does not tell what its workers run.")
        self.cpus = programs.online_of(self._chosen)
        if self._time_programs:
            self._stats_fd = bpf.enable_stats()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        self._load()
        self._settle = self._object.programs["settle"]
        totals = self._object.map("cpus")
        self._memory = totals.mapped()
        self._stride = totals.stride
        self._offset = self._object.btf.offset("cpu", "reading")
        self._totals = self._object.btf.layout("cpu_totals")
        self._tasks = self._object.map("tasks")
        self._lines = Lines(self._object.btf.layout("irq_line"))
        self._places = self._object.btf.offset("cpu", "irqs")
        self._created = self._object.variable("tasks_created")
        self._deleted = 0
        self._names = _cgroup_names()
        self._decoder = Decoder(
            key=self._object.btf.layout("task_key"),
            account=self._object.btf.layout("task_account"),
            cgroup_path=self.cgroup_path,
            toll=self._toll,
            lines=self._lines,
        )
        self._accounting = accounting()
        if self._by_cgroup:
            self._cgroups = self._object.map("cgroups")
            self._cgroups.insert(bytes(8))  # id 0: for those that find no room
            self._charges = self._object.btf.layout("charges")
        if self._want_histograms:
            self._slots = self._object.btf.layout("cpu_histograms")
            histograms = self._object.map("histograms")
            self._slots_memory, self._slots_stride = histograms.mapped(), histograms.stride
        self._running = True
        self.began = self._reading(ARM)

    def _load(self) -> None:
        possible = max(cpus.possible()) + 1
        self._object, self._raw = programs.attached(
            "ledger",
            called=CALLED,
            without=(
                *(("sched_process_fork",) if self._follow is None else ()),
                *(() if self._functions else WORK),
            ),
            raw=self._raw,
            constants={
                "want_histograms": self._want_histograms,
                "by_cgroup": self._by_cgroup,
                "forget_exited": not self._keep_tasks,
                "drop_every": self._drop_every,
                "followed_pid": self._follow or 0,
                "functions_from": self._functions.start,
                "functions_until": self._functions.stop,
                "take_moments": self._moments is not None,
            },
            max_entries={
                "cpus": possible,
                "histograms": possible if self._want_histograms else 1,
                "tasks": self._max_tasks,
                "cgroups": self._max_cgroups + 1 if self._by_cgroup else 1,
            },
            shared={} if self._moments is None else {"moments": self._moments},
        )

    @property
    def raw_tracepoints(self) -> bool:
        """Whether it had to do without attaching by BTF."""
        return self._raw

    @property
    def tracepoints(self) -> tuple[str, ...]:
        """What it is attached to."""
        return tuple(name for name in self._object.programs if name not in CALLED)

    @property
    def tells_triggers(self) -> bool:
        """Whether it can tell a softirq that an interrupt ran from one that a system call ran."""
        return bool(percpu.trigger_offsets())

    def read(self) -> Reading:
        """The counters now. Costs one IPI per CPU and one pass over the tasks, whatever happened.

        :raises NettaxError: the ledger is not running
        """
        return self._reading(READ)

    def finish(self) -> Reading:
        """The last reading: each CPU stops as it is read, so that nothing moves in between."""
        return self._reading(DISARM)

    def reap(self) -> None:
        """Keep the map of tasks from filling with the dead; call it between distant readings.

        Costs one load while the map is less than half full. What is taken out is in the next
        reading.
        """
        self._check_running()
        if self._created() - self._deleted > self._max_tasks // 2:
            self._read_tasks()

    def _reading(self, request: int) -> Reading:
        """Settle all CPUs, then read at once what they left, so that little happens in between."""
        self._check_running()
        offline = set()
        for cpu in self.cpus:
            try:
                # It declines while a softirq's end is being booked on that CPU, for some ns, and
                # when an interrupt came in the middle of it.
                while self._settle.run(request, cpu=cpu):
                    pass
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                offline.add(cpu)
        # At arming, accounts begin: what was booked since then is not of an earlier time.
        tasks = {} if request == ARM or not self._keep_tasks else self._read_tasks()
        self._exited = {}
        now = time.monotonic_ns()
        totals = {
            cpu: self._totals.unpack(self._memory, cpu * self._stride + self._offset)
            for cpu in self.cpus
        }
        stats = [program.stats() for program in self._object.programs.values()]
        timed = self._stats_fd is not None
        return Reading(
            decoder=self._decoder,
            time_ns=now,
            cpus=totals,
            offline=frozenset(offline),
            tasks=tasks,
            irqs={} if request == ARM else self._read_irqs(),
            cgroups={} if request == ARM or not self._by_cgroup else self._read_cgroups(),
            squeezed={c: row.time_squeeze for c, row in softnet.softnet_stat().items()},
            steal_ns={c: times.steal_ns for c, times in proc_stat.stat().cpus.items()},
            lost=sum(row.missed for row in stats),
            self_cpu_ns=time.process_time_ns(),
            bpf_ns=sum(row.run_ns for row in stats) if timed else None,
            bpf_runs=sum(row.runs for row in stats) if timed else None,
            histograms=self._read_histograms(request),
            accounting=self._accounting,
        )

    def _check_running(self) -> None:
        if not self._running:
            raise NettaxError("this ledger is not running: read it within its `with` block")

    def _read_tasks(self) -> Mapping[bytes, bytes]:
        """All accounts; those of exited tasks leave the map and stay in `_exited` until read."""
        tasks = dict(self._tasks.items())
        flags = self._decoder.flags
        dead = [key for key, value in tasks.items() if flags(value) & EXITED]
        self._tasks.delete(dead)
        self._deleted += len(dead)
        for key in dead:
            self._exited[key] = tasks[key]
        return {**self._exited, **tasks}

    def _read_irqs(self) -> dict[Place, bytes]:
        used: dict[Place, bytes] = {}
        for cpu in self.cpus:
            start = cpu * self._stride
            # They are the last of a CPU's fields.
            places = memoryview(self._memory)[start + self._places : start + self._stride]
            used.update(self._lines.used(cpu, places))
        return used

    def _read_cgroups(self) -> dict[int, Charges]:
        unpack, stride = self._charges.leading(FIELDS[-1]), self._charges.size
        sums = {}
        for key, value in self._cgroups.items():
            parts = (unpack(value, start) for start in range(0, len(value), stride))
            sums[int.from_bytes(key, "little")] = Charges.total(map(Charges, filter(any, parts)))
        return sums

    def cgroup_path(self, cgroup_id: int) -> str | None:
        """The path of a cgroup; None if it went before it was seen, or without cgroup v2."""
        return self._names.path(cgroup_id) if self._names else None

    def cgroup_paths(self, ids: Iterable[int]) -> dict[int, str | None]:
        """The same for many at once."""
        return self._names.paths(ids) if self._names else dict.fromkeys(ids)

    def forget_cgroups(self, ids: Iterable[int]) -> None:
        """Make room: take these cgroups, names and sums, from the ledger.

        Should one of them still run tasks, its sum begins anew at nothing.
        """
        self._check_running()
        if self._by_cgroup:
            self._cgroups.delete([i.to_bytes(8, "little") for i in ids if i])
        if self._names:
            self._names.forget(ids)

    def _read_histograms(self, request: int) -> dict[int, Any]:
        if not self._want_histograms:
            return {}
        if request == ARM:  # empty then, but no longer: CPUs armed first have gone on
            empty = self._slots.unpack(bytes(self._slots.size))
            return dict.fromkeys(self.cpus, empty)
        return {
            cpu: self._slots.unpack(self._slots_memory, cpu * self._slots_stride)
            for cpu in self.cpus
        }

    def close(self) -> None:
        """Detach and unload. May be called twice."""
        self._running = False
        if hasattr(self, "_object"):
            self._object.close()
        if self._stats_fd is not None:
            os.close(self._stats_fd)
            self._stats_fd = None

    def __exit__(self, *_: object) -> None:
        self.close()


def _cgroup_names() -> Cgroups | None:
    try:
        return Cgroups()
    except MissingFeature:
        return None

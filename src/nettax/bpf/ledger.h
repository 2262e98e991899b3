/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the ledger's kernel side and its user side share. The user side reads the layouts from the
 * object's BTF, so every field is written once, here.
 */
#ifndef NETTAX_LEDGER_H
#define NETTAX_LEDGER_H

/* Softirq vectors: include/linux/interrupt.h. */
#define NR_VECTORS 10
#define NET_RX	   3

/* What a CPU is running. The three network kernel threads are accounts of their own. */
enum kind { KIND_KSOFTIRQD, KIND_NAPI, KIND_IRQ, NR_KTHREADS, KIND_TASK = NR_KTHREADS, KIND_IDLE };

/* What made a softirq run in a task's context. */
enum trigger { TRIGGER_IRQ_EXIT, TRIGGER_BH_ENABLE, TRIGGER_UNKNOWN, NR_TRIGGERS };

/* Interrupts that pass no handler of a numbered IRQ, as /proc/interrupts calls them on x86; IPI,
 * those of other machines; and OTHER, numbered ones for which there was no room. The first are
 * sent by CPUs. */
enum apart { CAL, RES, IPI, LOC, IWI, PLT, ERR, SPU, TRM, THR, DFR, OTHER, NR_APART };
#define IS_IPI(apart) ((apart) <= IPI)

/* What the user side asks of a CPU: argument of the program `settle`. */
enum request { REQUEST_READ, REQUEST_ARM, REQUEST_DISARM };

#define TASK_EXITED   1
#define TASK_FOLLOWED 2 /* the command given to nettax, or a descendant; who ran its functions */

/* A task: its pid may be reused, its pid and start time may not. */
struct task_key {
	__u32 pid;
	__u32 zero;
	__u64 start_ns;
};

/*
 * What a task, or all tasks of a cgroup, were charged. Times are signed: a slice cut by a reading
 * just as a softirq begins is corrected, by less than a microsecond, in the slice after.
 */
struct charges {
	__s64 oncpu_ns;
	__s64 own_ns;
	__s64 billed_ns;
	__s64 hardirq_ns;
	__s64 softirq_ns[NR_VECTORS];
	__s64 trigger_ns[NR_TRIGGERS];
	__s64 displaced_ns[NR_KTHREADS];
	__s64 wait_ns;
	__s64 interrupts;
	__s64 switches;
	__s64 wakeup_ns; /* billed from before it came on the CPU; see struct moment */
	__s64 waived_ns; /* on the CPU, and not billed */
};

/* A task's account. The user side takes all fields up to wait_cpu in one go. */
struct task_account {
	struct charges sum;
	/* Waiting for a CPU: since when, that CPU's clocks of network kernel threads then, and
	 * which CPU (plus one; 0: not waiting). */
	__u64 wait_since;
	__u64 wait_clock[NR_KTHREADS];
	__u32 wait_cpu;
	__u32 flags;
	__u64 billed_until; /* the scheduler's record (sum_exec_runtime) up to which it is billed */
	__u64 cgroup;
	__u32 tgid;
	__u32 cpu;
	__u32 kind;
	__u32 pad;
	char comm[16];
};

/* A numbered IRQ on one CPU, of a cache line. Those that share a number are told apart by their
 * actions. */
struct irq_line {
	__u64 action; /* its address; 0: the place is free */
	__u64 count;
	__s64 ns;
	__u32 irq;
	char name[36]; /* the action's: that of a queue, as a rule */
};

#define NR_LINES 256

/* A CPU's totals since it was armed; they only grow. */
struct cpu_totals {
	__u64 start_ns; /* CLOCK_MONOTONIC at arming */
	__u64 now_ns;	/* CLOCK_MONOTONIC of this reading */
	__s64 idle_ns;
	__s64 idle_interrupted_ns;
	__s64 own_ns;
	__s64 stolen_hardirq_ns;
	__s64 stolen_softirq_ns[NR_VECTORS];
	__s64 kthread_ns[NR_KTHREADS];
	__s64 unkept_ns; /* on-CPU time of tasks for which the map had no room */
	__s64 hardirq_ns;
	__s64 softirq_ns[NR_VECTORS];
	__s64 trigger_ns[NR_TRIGGERS];
	__u64 softirq_count[NR_VECTORS];
	__u64 interrupts; /* hard IRQs, IPIs included */
	__u64 ipis;
	__u64 apart_count[NR_APART]; /* those of no number; OTHER: those that found no room */
	__s64 apart_ns[NR_APART];
	__u64 polls;
	__u64 packets;
	__u64 softirq_packets; /* those polled in NET_RX softirqs, not by threads or callers */
	__u64 switches;
	__u64 unmatched;   /* events that did not fit the state they met */
	__s64 inferred_ns; /* of slices with an untraced switch inside */
	/* How long each kind of network kernel thread has run here, up to now_ns. */
	__u64 kthread_clock[NR_KTHREADS];
	__u64 armed;
};

/* log2 run times: slot i counts runs of [2^i, 2^(i+1)) ns. */
#define NR_SLOTS 40
struct cpu_histograms {
	__u64 hardirq[NR_SLOTS];
	__u64 softirq[NR_VECTORS][NR_SLOTS];
	__u64 poll[NR_SLOTS];
};

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the ledger keeps of each CPU, the maps, and what the user side sets before loading. */
#ifndef NETTAX_LEDGER_CPU_H
#define NETTAX_LEDGER_CPU_H

#include "../kernel.h"
#include "../ledger.h"
#include "../percpu.h"

const volatile bool want_histograms = false;
const volatile bool by_cgroup = false;	   /* sum up what the tasks of each cgroup are charged */
const volatile bool forget_exited = false; /* keep no account of a task after its end */
const volatile __u32 drop_every = 0;	   /* tests: lose every Nth event */
const volatile __u32 followed_pid = 0;	   /* mark this task and its descendants */
/* Functions from here until there (0: none): what kernel threads and work items spend in them is
 * charged to the function's address, as if that were a cgroup; and who runs them is marked. */
const volatile __u64 functions_from = 0;
const volatile __u64 functions_until = 0;

__u64 tasks_created = 0;

struct cpu {
	__u64 percpu_base; /* address of this CPU's per-CPU area; 0: unknown */
	/* hard IRQ level */
	__u64 hard_t0;
	__u32 hard_depth;
	__u32 pending; /* vectors that irq_exit is about to run */
	/* softirq level */
	__u64 soft_t0;
	__u64 soft_h0; /* hardirq_ns at soft_t0 */
	__s64 soft_ns; /* sum of totals.softirq_ns */
	__u64 poll_t0;
	__u64 poll_h0;
	__u32 vector; /* plus one; 0: none */
	__u32 trigger;
	/* slice: the task that is on the CPU, and the counters when it came */
	struct task_key task;
	__u64 task_address;
	__u64 t0;
	__u64 h0;
	__s64 s0;
	__u64 interrupts0;
	__s64 vector0[NR_VECTORS];
	__s64 trigger0[NR_TRIGGERS];
	__s64 vector1[NR_VECTORS]; /* when it ends: of one moment, as softirqs go on meanwhile */
	__s64 trigger1[NR_TRIGGERS];
	__u64 clock0;
	__s64 waived0;
	__u32 kind;
	/* the exits of a hard IRQ and a softirq that were under way at arming are expected */
	bool booking;  /* a softirq is over, but not all of it booked */
	bool changing; /* the same of a slice, in a task that goes on */
	bool hard_grace;
	bool soft_grace;
	__u64 dropped;
	/*
	 * How long each kind of network kernel thread has run here, readable from other CPUs in
	 * one load: stopped, a duration in ns; running, RUNNING plus the time to subtract from now.
	 */
	__u64 clock[NR_KTHREADS];
	struct cpu_totals totals; /* live */
	struct cpu_totals reading;
	struct irq_line irqs[NR_LINES] __attribute__((aligned(64))); /* at the number, or near */
};

#define RUNNING (1ULL << 63)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* the user side sets the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct task_key);
	__type(value, struct task_account);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_histograms);
} histograms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64); /* its id; 0: all those for which there is no room */
	__type(value, struct charges);
} cgroups SEC(".maps");

static const struct task_account no_account;
static const struct charges no_charges;

static __always_inline struct cpu *cpu_state(__u32 cpu)
{
	return bpf_map_lookup_elem(&cpus, &cpu);
}

static __always_inline bool is_armed(__u32 cpu)
{
	struct cpu *c = cpu_state(cpu);

	return c && c->totals.armed;
}

/* This CPU's state, or NULL while it is not armed (or when a test wants the event lost). */
static __always_inline struct cpu *armed_cpu(void)
{
	struct cpu *c = cpu_state(bpf_get_smp_processor_id());

	if (!c || !c->totals.armed)
		return NULL;
	if (drop_every && ++c->dropped % drop_every == 0)
		return NULL;
	return c;
}

static __always_inline __u32 log2_slot(__u64 ns)
{
	__u32 slot = 0;

	for (__u32 shift = 32; shift; shift >>= 1) {
		if (ns >> shift) {
			ns >>= shift;
			slot += shift;
		}
	}
	return slot < NR_SLOTS ? slot : NR_SLOTS - 1;
}

static __always_inline struct cpu_histograms *cpu_histograms(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&histograms, &cpu);
}

#endif

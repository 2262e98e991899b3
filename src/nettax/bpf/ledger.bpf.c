// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The ledger's kernel side: every nanosecond of every CPU, on exactly one account.
 *
 * A CPU has three levels of context, and each level's programs write only that level's state:
 *
 *   hard IRQ   entry..exit of handlers and IPIs; adds to totals.hardirq_ns
 *   softirq    entry..exit of a vector, less the hard IRQs inside it; adds to totals.softirq_ns
 *   slice      from one sched_switch to the next; on-CPU time of one task
 *
 * The upper two only count upwards. A slice remembers where the counters stood when it began, so
 * closing it is a subtraction: own = slice - hard IRQs - softirqs, and the interrupted task is
 * charged then, once per switch and not once per interrupt. Nothing needs a lock or an atomic.
 *
 * A reading (`settle`) runs on the CPU that it reads, closes the slice in flight, counts what is in
 * flight on the upper levels without touching it, and leaves a copy for the user side. No event
 * ever reaches user space.
 *
 * Built twice: with BTF-typed tracepoints (tp_btf), and, under NETTAX_RAW_TP, with raw tracepoints
 * for kernels that refuse to attach by BTF.
 */
#include "ledger/sched.h"
#include "ledger/hardirq.h"
#include "ledger/softirq.h"
#include "ledger/work.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The first reading is of nothing. It is there before the first event counts: on the caller's own
 * CPU an interrupt may follow at once. */
static __always_inline void arm(struct cpu *c, struct task_struct *task)
{
	struct task_key key = {
	    .pid = task->pid,
	    .start_ns = task->start_boottime,
	};
	struct task_account *account = NULL;
	struct moment m = {};
	__u32 kind = KIND_IDLE;

	c->percpu_base = percpu_base(task);
	c->hard_grace = true;
	c->soft_grace = true;
	if (key.pid) {
		account = bpf_map_lookup_elem(&tasks, &key) ?: new_account(task, &key);
		kind = account ? account->kind : KIND_TASK;
	}
	__builtin_memcpy(&c->reading, &c->totals, sizeof(c->reading));
	c->reading.armed = 1;

	m.now = bpf_ktime_get_ns();
	look_at_clock(&m, task);
	c->t0 = m.now;
	c->clock0 = m.clock;
	c->waived0 = m.waived_ns;
	c->totals.start_ns = c->reading.start_ns = m.now;
	c->totals.now_ns = c->reading.now_ns = m.now;
	open_slice(c, task, &key, kind, m.now);
	*(volatile __u64 *)&c->totals.armed = 1;
}

/* The vector and trigger of the softirq in flight. Looked up afresh at each use: older verifiers
 * forget, across a map lookup or a spill to the stack, what was known of a number. */
static __always_inline bool in_flight(struct cpu *c, __u32 *vector, __u32 *trigger)
{
	*vector = *(volatile __u32 *)&c->vector - 1;
	*trigger = *(volatile __u32 *)&c->trigger;
	return *vector < NR_VECTORS && *trigger < NR_TRIGGERS;
}

static __always_inline void charge_in_flight(struct cpu *c, struct charges *task,
					     struct charges *cgroup, __s64 soft_in_flight)
{
	__u32 vector, trigger;

	if (!in_flight(c, &vector, &trigger))
		return;
	c->vector0[vector] += soft_in_flight;
	c->trigger0[trigger] += soft_in_flight;
	if (c->kind != KIND_TASK)
		return;
	c->totals.stolen_softirq_ns[vector] += soft_in_flight;
	if (task) {
		task->softirq_ns[vector] += soft_in_flight;
		task->trigger_ns[trigger] += soft_in_flight;
	}
	if (cgroup && in_flight(c, &vector, &trigger)) {
		cgroup->softirq_ns[vector] += soft_in_flight;
		cgroup->trigger_ns[trigger] += soft_in_flight;
	}
}

/* Close the slice in flight, with what the upper levels have in flight, and copy the totals. */
static __always_inline void settle_cpu(struct cpu *c, struct task_struct *task)
{
	struct task_key key = {
	    .pid = task->pid,
	    .start_ns = task->start_boottime,
	};
	struct task_account *account = NULL;
	struct charges *cgroup;
	struct moment m = {};
	__s64 hard_in_flight, soft_in_flight = 0;
	__u32 vector, trigger;

	m.now = bpf_ktime_get_ns();
	hard_in_flight = c->hard_depth ? m.now - c->hard_t0 : 0;
	m.hard_ns = c->totals.hardirq_ns + hard_in_flight;
	if (in_flight(c, &vector, &trigger))
		soft_in_flight = (m.now - c->soft_t0) - (m.hard_ns - c->soft_h0);
	m.soft_ns = c->soft_ns + soft_in_flight;
	look_at_clock(&m, task);

	/* The current task may have come by a switch that went untraced, with none seen since. */
	if (key.pid)
		account = account_of(task);
	if (key.pid != c->task.pid || (key.pid && key.start_ns != c->task.start_ns)) {
		stop_clock(c, m.now);
		infer_switch(c, &key, account, task->se.sum_exec_runtime, &m);
		open_slice(c, task, &key, c->kind, m.now);
	}
	cgroup = cgroup_of(account);
	close_slice(c, account, cgroup, &m);
	charge_in_flight(c, account ? &account->sum : NULL, cgroup, soft_in_flight);
	if (account) {
		bill(account, cgroup, task->se.sum_exec_runtime);
		account->cpu = bpf_get_smp_processor_id();
	}
	c->totals.now_ns = m.now;
	for (int i = 0; i < NR_KTHREADS; i++)
		c->totals.kthread_clock[i] = clock_at(c->clock[i], m.now);
	__builtin_memcpy(&c->reading, &c->totals, sizeof(c->reading));
	c->reading.hardirq_ns += hard_in_flight;
	if (in_flight(c, &vector, &trigger)) {
		c->reading.softirq_ns[vector] += soft_in_flight;
		c->reading.trigger_ns[trigger] += soft_in_flight;
	}
}

/* What moves when a hard IRQ, or a softirq in its wake, has come. */
static __always_inline __u64 interrupted(struct cpu *c)
{
	return *(volatile __u64 *)&c->totals.interrupts + *(volatile __s64 *)&c->soft_ns;
}

/* Run by the user side on the CPU in question (BPF_PROG_RUN with BPF_F_TEST_RUN_ON_CPU): from an
 * IPI, or, on the caller's own CPU, from its system call. */
SEC("raw_tp/settle")
int settle(struct bpf_raw_tracepoint_args *ctx)
{
	struct cpu *c = cpu_state(bpf_get_smp_processor_id());
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 request = ctx->args[0], before;

	if (!c)
		return 0;
	if (c->booking || c->changing)
		return 1; /* try again */
	if (!c->totals.armed) {
		if (request == REQUEST_ARM)
			arm(c, task);
		return 0;
	}
	before = interrupted(c);
	settle_cpu(c, task);
	/* One came in the middle, on the caller's own CPU: the reading is of no one time. */
	if (interrupted(c) != before)
		return 1;
	if (request == REQUEST_DISARM) {
		c->totals.armed = 0;
		stop_clock(c, c->totals.now_ns);
	}
	return 0;
}

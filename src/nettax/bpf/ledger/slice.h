/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Slices: from one switch to the next. Closing one charges a task with what it had of its CPU. */
#ifndef NETTAX_LEDGER_SLICE_H
#define NETTAX_LEDGER_SLICE_H

#include "task.h"

/*
 * The counters of the upper levels at one moment, and what the scheduler bills by. Its clock stands
 * still between its looks. A wakeup that calls for a switch is such a look, and the switch itself
 * is then none (kernel/sched/core.c, wakeup_preempt: rq_clock_skip_update), so the task that comes
 * is billed from its wakeup on. The task that leaves is billed up to one look; when no other is at
 * hand, the search for one on other CPUs looks again (kernel/sched/fair.c, newidle_balance), and
 * that time is nobody's. Over a slice,
 *
 *   billed = slice + (growth of the clock - slice) - growth of what is waived
 */
struct moment {
	__u64 now;
	__u64 hard_ns;
	__s64 soft_ns;
	__u64 clock;	 /* up to which the current task is billed */
	__u64 looked;	 /* the clock itself: from which the next one is */
	__s64 waived_ns; /* the hypervisor's steal, and interrupts where the kernel keeps them apart
			  */
};

/* What the scheduler bills by on this CPU, found by its current task. */
static __always_inline void look_at_clock(struct moment *m, struct task_struct *current)
{
	struct rq *rq;

	m->clock = m->looked = m->now;
	if (!bpf_core_field_exists(current->se.cfs_rq))
		return;
	rq = READ(current, se.cfs_rq, rq);
	m->clock = m->looked = READ(rq, clock);
	m->waived_ns = m->clock - READ(rq, clock_task);
	if (READ(current, pid)) /* the idle task is not billed */
		m->clock = READ(current, se.exec_start) + m->waived_ns;
}

/* Charge the softirqs completed since the slice began, by vector and by trigger. */
static __always_inline void charge_softirqs(struct cpu *c, struct charges *to)
{
	for (int i = 0; i < NR_VECTORS; i++)
		to->softirq_ns[i] += c->vector1[i] - c->vector0[i];
	for (int i = 0; i < NR_TRIGGERS; i++)
		to->trigger_ns[i] += c->trigger1[i] - c->trigger0[i];
}

/* Charge the slice that ends at m, given its length and what of it was own and hard IRQs. */
static __always_inline void charge_slice(struct cpu *c, struct charges *to, const struct moment *m,
					 __s64 slice, __s64 own, __s64 hard, bool softirqs)
{
	to->oncpu_ns += slice;
	to->own_ns += own;
	to->hardirq_ns += hard;
	to->wakeup_ns += (__s64)(m->clock - c->clock0) - slice;
	to->waived_ns += m->waived_ns - c->waived0;
	to->interrupts += c->totals.interrupts - c->interrupts0;
	if (softirqs)
		charge_softirqs(c, to);
}

/* To the entry of one kind. Not by indexing: older verifiers forget, across a map lookup or a spill
 * to the stack, what was known of a number. */
static __always_inline void add_at(__s64 *of_kthreads, __u32 kind, __s64 ns)
{
	for (__u32 i = 0; i < NR_KTHREADS; i++)
		if (kind == i)
			of_kthreads[i] += ns;
}

/* Charge the slice that ends at m to its task and cgroup, and open the next one there. */
static __always_inline void close_slice(struct cpu *c, struct task_account *account,
					struct charges *cgroup, const struct moment *m)
{
	struct cpu_totals *t = &c->totals;
	__s64 slice = m->now - c->t0;
	__s64 hard = m->hard_ns - c->h0;
	__s64 soft = m->soft_ns - c->s0;
	__s64 own = slice - hard - soft;
	bool victim = c->kind == KIND_TASK;

	if (soft) {
		__builtin_memcpy(c->vector1, t->softirq_ns, sizeof(c->vector1));
		__builtin_memcpy(c->trigger1, t->trigger_ns, sizeof(c->trigger1));
	}
	if (c->kind == KIND_IDLE) {
		t->idle_ns += own;
		t->idle_interrupted_ns += hard + soft;
	} else if (victim) {
		t->own_ns += own;
		t->stolen_hardirq_ns += hard;
		for (int i = 0; soft && i < NR_VECTORS; i++)
			t->stolen_softirq_ns[i] += c->vector1[i] - c->vector0[i];
	} else if (c->kind < NR_KTHREADS) {
		own += soft; /* softirqs are what a network kernel thread is there for */
		add_at(t->kthread_ns, c->kind, own);
		t->stolen_hardirq_ns += hard;
	}
	if (account)
		charge_slice(c, &account->sum, m, slice, own, hard, soft && victim);
	else if (c->kind != KIND_IDLE)
		t->unkept_ns += slice;
	if (cgroup)
		charge_slice(c, cgroup, m, slice, own, hard, soft && victim);
	if (soft) {
		__builtin_memcpy(c->vector0, c->vector1, sizeof(c->vector0));
		__builtin_memcpy(c->trigger0, c->trigger1, sizeof(c->trigger0));
	}
	c->t0 = m->now;
	c->h0 = m->hard_ns;
	c->s0 = m->soft_ns;
	c->clock0 = m->clock;
	c->waived0 = m->waived_ns;
	c->interrupts0 = t->interrupts;
}

/* Put a task on the CPU; the slice's counters already stand at this moment. */
static __always_inline void open_slice(struct cpu *c, struct task_struct *task,
				       const struct task_key *key, __u32 kind, __u64 now)
{
	c->task = *key;
	c->task_address = (__u64)task;
	c->kind = kind;
	for (__u32 i = 0; i < NR_KTHREADS; i++)
		if (kind == i)
			c->clock[i] = RUNNING | (now - c->clock[i]);
}

/*
 * The task that leaves is not the one that came: a switch between them went untraced. (Some hosts
 * hide their supervisor's switches.) The scheduler's own record tells how long one of them ran, and
 * the rest of the slice is the other's. The idle task has no record. Counted as unmatched, and the
 * time as inferred. What is inferred from the bill differs from it in nothing.
 */
static __always_inline void infer_switch(struct cpu *c, const struct task_key *leaving,
					 struct task_account *account, __u64 charged,
					 const struct moment *until)
{
	struct task_struct *came = (struct task_struct *)c->task_address;
	struct task_account *came_account = NULL;
	struct moment m = {.hard_ns = c->h0, .soft_ns = c->s0};
	__u64 slice = until->now - c->t0, ran = 0;

	c->totals.unmatched++;
	c->totals.inferred_ns += slice;
	if (c->task.pid)
		came_account = bpf_map_lookup_elem(&tasks, &c->task);
	if (came_account && (__u32)BPF_CORE_READ(came, pid) == c->task.pid)
		ran = bill(came_account, cgroup_of(came_account),
			   BPF_CORE_READ(came, se.sum_exec_runtime));
	if (account) {
		ran = charged - account->billed_until;
		ran = ran < slice ? slice - ran : 0;
	}
	ran = ran < slice ? ran : slice;
	m.now = c->t0 + ran;
	m.clock = c->clock0 + ran;
	m.waived_ns = c->waived0;
	close_slice(c, came_account, cgroup_of(came_account), &m);
	c->clock0 = until->clock - (slice - ran);
	c->waived0 = until->waived_ns;
	c->task = *leaving;
	c->kind = account ? account->kind : leaving->pid ? KIND_TASK : KIND_IDLE;
}

static __always_inline void stop_clock(struct cpu *c, __u64 now)
{
	for (__u32 i = 0; i < NR_KTHREADS; i++)
		if (c->kind == i)
			c->clock[i] = clock_at(c->clock[i], now);
}

/* A switch to or from softirq or hard IRQ context cannot happen: an exit was lost. (On PREEMPT_RT
 * softirqs can be switched out; the user side refuses that kernel.) */
static __always_inline void heal(struct cpu *c)
{
	if (c->hard_depth) {
		c->hard_depth = 0;
		c->totals.unmatched++;
	}
	if (c->vector) {
		c->vector = 0;
		c->totals.unmatched++;
	}
}

#endif

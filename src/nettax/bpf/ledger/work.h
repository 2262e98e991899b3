/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Work items of functions that are followed: where one begins and ends in its worker's time. */
#ifndef NETTAX_LEDGER_WORK_H
#define NETTAX_LEDGER_WORK_H

#include "slice.h"

/* Interrupts are on in a worker, and softirqs follow them: look again when one came. */
static __always_inline void moment_beside(struct cpu *c, struct moment *m)
{
	volatile __s64 *hard_ns = &c->totals.hardirq_ns, *soft_ns = &c->soft_ns;

	for (int i = 0; i < 3; i++) {
		m->hard_ns = *hard_ns;
		m->soft_ns = *soft_ns;
		m->now = bpf_ktime_get_ns();
		if (*hard_ns == (__s64)m->hard_ns)
			return;
	}
}

/* What the worker ran so far is charged to whom it was running for. The scheduler bills tasks as
 * they leave a CPU: of that, what ends here is billed at its length, and the rest is then left, as
 * is what the scheduler's clock differs by. */
static __always_inline void charge_so_far(struct cpu *c, struct task_account *account)
{
	struct charges *cgroup = cgroup_of(account);
	struct moment m;
	__u64 began = c->t0;

	*(volatile bool *)&c->changing = true;
	moment_beside(c, &m);
	m.clock = c->clock0 + (m.now - began);
	m.waived_ns = c->waived0;
	close_slice(c, account, cgroup, &m);
	bill(account, cgroup, account->billed_until + m.now - began);
	asm volatile("" ::: "memory");
	*(volatile bool *)&c->changing = false;
}

/* The worker's account, its slice closed; NULL if its time is not to be divided here. Items of
 * queues with WQ_BH run in softirqs, and are on their account. */
static __always_inline struct task_account *worker_here(struct task_struct *task)
{
	struct cpu *c = armed_cpu();
	struct task_account *account;

	if (!c || c->vector || c->hard_depth)
		return NULL;
	account = account_of(task);
	/* Else it came by a switch that went untraced: the next one will infer it. */
	if (account && c->task.pid == (__u32)READ(task, pid))
		charge_so_far(c, account);
	return account;
}

/* Loaded, as the next one is, only when functions are followed. */
TP(workqueue_execute_start)
int BPF_PROG(workqueue_execute_start, struct work_struct *work)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_account *account;

	if (!followed_function(task))
		return 0;
	account = worker_here(task);
	if (account)
		name_payer(account, task);
	return 0;
}

/* The item itself may be gone; the worker forgets its function only after this. */
TP(workqueue_execute_end)
int BPF_PROG(workqueue_execute_end, struct work_struct *work)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_account *account;

	if (!followed_function(task))
		return 0;
	account = worker_here(task);
	if (account)
		account->cgroup = READ(task, cgroups, dfl_cgrp, kn, id);
	return 0;
}

#endif

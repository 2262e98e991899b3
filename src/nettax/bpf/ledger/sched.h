/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The scheduler's events: who is on a CPU, who waits for one, who forked whom. */
#ifndef NETTAX_LEDGER_SCHED_H
#define NETTAX_LEDGER_SCHED_H

#include "slice.h"

TP(sched_switch)
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct cpu *c = armed_cpu();
	struct task_account *account = NULL;
	struct moment m = {};
	struct task_key key;
	__u32 state;

	if (!c)
		return 0;
	heal(c);
	c->pending = 0;
	m.now = bpf_ktime_get_ns();
	m.hard_ns = c->totals.hardirq_ns;
	m.soft_ns = c->soft_ns;
	c->totals.switches++;
	stop_clock(c, m.now);

	key = key_of(prev);
	if (key.pid)
		account = account_of(prev);
	if (key.pid != c->task.pid || (key.pid && key.start_ns != c->task.start_ns))
		infer_switch(c, &key, account, READ(prev, se.sum_exec_runtime), m.now);
	close_slice(c, account, &m);
	if (account) {
		account->billed_ns += READ(prev, se.sum_exec_runtime) - c->billed0;
		account->cgroup = READ(prev, cgroups, dfl_cgrp, kn, id);
		account->cpu = bpf_get_smp_processor_id();
		account->switches++;
		account->wait_cpu = 0;
		state = has_prev_state ? ((volatile __u64 *)ctx)[3] : READ(prev, __state);
		if (state & TASK_DEAD)
			account->flags |= TASK_EXITED;
		else if (preempt || !state)
			wait_begins(account, account->cpu, m.now);
	}

	key = key_of(next);
	if (!key.pid) {
		open_slice(c, next, &key, KIND_IDLE, 0, m.now);
		return 0;
	}
	account = account_of(next);
	if (account)
		wait_ends(account, m.now);
	open_slice(c, next, &key, account ? account->kind : KIND_TASK,
		   READ(next, se.sum_exec_runtime), m.now);
	return 0;
}

static __always_inline int woken(struct task_struct *task)
{
	struct task_account *account;

	if (!armed_cpu())
		return 0;
	account = account_of(task);
	if (account && !account->wait_cpu)
		wait_begins(account, READ(task, thread_info.cpu), bpf_ktime_get_ns());
	return 0;
}

TP(sched_wakeup)
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	return woken(task);
}

TP(sched_wakeup_new)
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	return woken(task);
}

/* A task that waits is moved to another CPU's queue: it waits there from now on. */
TP(sched_migrate_task)
int BPF_PROG(sched_migrate_task, struct task_struct *task, int dest_cpu)
{
	struct task_key key = key_of(task);
	struct task_account *account;
	__u64 now;

	if (!armed_cpu())
		return 0;
	account = bpf_map_lookup_elem(&tasks, &key);
	if (!account || !account->wait_cpu)
		return 0;
	now = bpf_ktime_get_ns();
	wait_ends(account, now);
	wait_begins(account, dest_cpu, now);
	return 0;
}

TP(task_rename)
int BPF_PROG(task_rename, struct task_struct *task, const char *comm)
{
	struct task_key key = key_of(task);
	struct task_account *account = bpf_map_lookup_elem(&tasks, &key);

	if (account)
		bpf_probe_read_kernel_str(account->comm, sizeof(account->comm), comm);
	return 0;
}

/* Loaded only when a command is followed. */
TP(sched_process_fork)
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct task_account *account;

	if (!armed_cpu())
		return 0;
	account = account_of(parent);
	if (!account || !(account->flags & TASK_FOLLOWED))
		return 0;
	account = account_of(child);
	if (account)
		account->flags |= TASK_FOLLOWED;
	return 0;
}

#endif

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
	struct charges *cgroup;
	struct moment m = {};
	struct task_key key;
	__u64 charged;
	__u32 state;

	if (!c)
		return 0;
	heal(c);
	c->pending = 0;
	m.now = bpf_ktime_get_ns();
	m.hard_ns = c->totals.hardirq_ns;
	m.soft_ns = c->soft_ns;
	look_at_clock(&m, prev);
	c->totals.switches++;
	stop_clock(c, m.now);

	key = key_of(prev);
	charged = READ(prev, se.sum_exec_runtime);
	if (key.pid)
		account = account_of(prev);
	if (key.pid != c->task.pid || (key.pid && key.start_ns != c->task.start_ns))
		infer_switch(c, &key, account, charged, &m);
	if (account)
		name_payer(account, prev);
	cgroup = cgroup_of(account);
	close_slice(c, account, cgroup, &m);
	c->clock0 = m.looked;
	if (cgroup)
		cgroup->switches++;
	if (account) {
		bill(account, cgroup, charged);
		account->cpu = bpf_get_smp_processor_id();
		account->sum.switches++;
		account->wait_cpu = 0;
		state = has_prev_state ? ((volatile __u64 *)ctx)[3] : READ(prev, __state);
		if (state & TASK_DEAD && forget_exited)
			bpf_map_delete_elem(&tasks, &key);
		else if (state & TASK_DEAD)
			account->flags |= TASK_EXITED;
		else if (preempt || !state)
			wait_begins(account, account->cpu, m.now);
	}

	key = key_of(next);
	if (!key.pid) {
		open_slice(c, next, &key, KIND_IDLE, m.now);
		return 0;
	}
	account = account_of(next);
	if (account) {
		wait_ends(account, m.now);
		/* What it ran meanwhile on CPUs that are not armed is not billed here. */
		account->billed_until = READ(next, se.sum_exec_runtime);
	}
	open_slice(c, next, &key, account ? account->kind : KIND_TASK, m.now);
	return 0;
}

/* It is the CPU on which the task will wait that must be armed, not the one that wakes it. */
static __always_inline int woken(struct task_struct *task)
{
	__u32 cpu = READ(task, thread_info.cpu);
	struct task_account *account;

	if (!is_armed(cpu))
		return 0;
	account = account_of(task);
	if (account && !account->wait_cpu)
		wait_begins(account, cpu, bpf_ktime_get_ns());
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

	account = bpf_map_lookup_elem(&tasks, &key);
	if (!account || !account->wait_cpu)
		return 0;
	now = bpf_ktime_get_ns();
	wait_ends(account, now);
	if (is_armed(dest_cpu))
		wait_begins(account, dest_cpu, now);
	return 0;
}

TP(task_rename)
int BPF_PROG(task_rename, struct task_struct *task, const char *comm)
{
	struct task_key key = key_of(task);
	struct task_account *account = bpf_map_lookup_elem(&tasks, &key);

	if (!account)
		return 0;
	bpf_probe_read_kernel_str(account->comm, sizeof(account->comm), comm);
	/* Before 6.4 kernel threads get their names when they already run. */
	if (READ(task, flags) & PF_KTHREAD)
		account->kind = kind_of(account->comm);
	return 0;
}

/* Loaded only when a command is followed. */
TP(sched_process_fork)
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct task_account *account;

	account = account_of(parent);
	if (!account || !(account->flags & TASK_FOLLOWED))
		return 0;
	account = account_of(child);
	if (account)
		account->flags |= TASK_FOLLOWED;
	return 0;
}

#endif

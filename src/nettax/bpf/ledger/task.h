/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Tasks' accounts, and how long a task waited while a network kernel thread had its CPU. */
#ifndef NETTAX_LEDGER_TASK_H
#define NETTAX_LEDGER_TASK_H

#include "cpu.h"

static __always_inline bool has_prefix(const char *text, const char *prefix, int length)
{
	for (int i = 0; i < length; i++)
		if (text[i] != prefix[i])
			return false;
	return true;
}

/* Kernel threads keep the names they were made with: kernel/softirq.c, net/core/dev.c
 * (napi_kthread_create, backlog_napi), kernel/irq/manage.c (setup_irq_thread). */
static __always_inline enum kind kind_of(const char *comm)
{
	if (has_prefix(comm, "ksoftirqd/", 10))
		return KIND_KSOFTIRQD;
	if (has_prefix(comm, "napi/", 5) || has_prefix(comm, "backlog_napi/", 13))
		return KIND_NAPI;
	if (has_prefix(comm, "irq/", 4))
		return KIND_IRQ;
	return KIND_TASK;
}

static __always_inline struct task_key key_of(struct task_struct *task)
{
	struct task_key key = {
	    .pid = READ(task, pid),
	    .start_ns = READ(task, start_boottime),
	};

	return key;
}

/* The function that a kernel thread is there for, or a worker's present item: if it is among those
 * that are followed; or 0. It is known once the thread runs. */
static __always_inline __u64 followed_function(struct task_struct *task)
{
	__u32 flags = READ(task, flags);
	struct kthread *thread;
	struct worker *worker;
	__u64 function;

	if (!(flags & PF_KTHREAD))
		return 0;
	thread = (struct kthread *)BPF_CORE_READ(task, worker_private);
	if (flags & PF_WQ_WORKER) {
		worker = (struct worker *)BPF_CORE_READ(thread, data);
		function = (__u64)BPF_CORE_READ(worker, current_func);
	} else {
		function = (__u64)BPF_CORE_READ(thread, threadfn);
	}
	return function >= functions_from && function < functions_until ? function : 0;
}

/* To whom the task's time goes from now on: its cgroup, or a function that is followed. */
static __always_inline void name_payer(struct task_account *account, struct task_struct *task)
{
	__u64 function = functions_until ? followed_function(task) : 0;

	if (function)
		account->flags |= TASK_FOLLOWED;
	account->cgroup = function ?: READ(task, cgroups, dfl_cgrp, kn, id);
}

static __noinline struct task_account *new_account(struct task_struct *task, struct task_key *key)
{
	struct task_account *account;

	if (bpf_map_update_elem(&tasks, key, &no_account, BPF_NOEXIST) == 0)
		__sync_fetch_and_add(&tasks_created, 1);
	account = bpf_map_lookup_elem(&tasks, key);
	if (!account)
		return NULL;
	bpf_probe_read_kernel_str(account->comm, sizeof(account->comm), &task->comm);
	account->tgid = READ(task, tgid);
	account->billed_until = READ(task, se.sum_exec_runtime);
	account->kind = READ(task, flags) & PF_KTHREAD ? kind_of(account->comm) : KIND_TASK;
	if (followed_pid && key->pid == followed_pid)
		account->flags = TASK_FOLLOWED;
	name_payer(account, task);
	return account;
}

static __noinline struct charges *new_cgroup(__u64 id)
{
	struct charges *sum;

	bpf_map_update_elem(&cgroups, &id, &no_charges, BPF_NOEXIST);
	sum = bpf_map_lookup_elem(&cgroups, &id);
	if (sum)
		return sum;
	id = 0;
	return bpf_map_lookup_elem(&cgroups, &id);
}

/* The sum of the task's cgroup on this CPU. Network kernel threads are accounts of their own. */
static __always_inline struct charges *cgroup_of(const struct task_account *account)
{
	__u64 id;

	if (!by_cgroup || !account || account->kind != KIND_TASK)
		return NULL;
	id = account->cgroup;
	return bpf_map_lookup_elem(&cgroups, &id) ?: new_cgroup(id);
}

/* Bill a task for what the scheduler has charged it since it was last seen; return how much. */
static __always_inline __u64 bill(struct task_account *account, struct charges *cgroup,
				  __u64 charged)
{
	__u64 since = charged - account->billed_until;

	account->sum.billed_ns += since;
	if (cgroup)
		cgroup->billed_ns += since;
	account->billed_until = charged;
	return since;
}

static __always_inline struct task_account *account_of(struct task_struct *task)
{
	struct task_key key = key_of(task);
	struct task_account *account = bpf_map_lookup_elem(&tasks, &key);

	return account ?: new_account(task, &key);
}

static __always_inline __u64 clock_at(__u64 clock, __u64 now)
{
	return clock & RUNNING ? now - (clock & ~RUNNING) : clock;
}

static __always_inline void wait_begins(struct task_account *account, __u32 cpu, __u64 now)
{
	struct cpu *c = cpu_state(cpu);

	if (!c)
		return;
	account->wait_cpu = cpu + 1;
	account->wait_since = now;
	for (int i = 0; i < NR_KTHREADS; i++)
		account->wait_clock[i] = clock_at(c->clock[i], now);
}

static __always_inline void wait_ends(struct task_account *account, __u64 now)
{
	struct charges *cgroup;
	struct cpu *c;
	__s64 ns;

	if (!account->wait_cpu)
		return;
	c = cpu_state(account->wait_cpu - 1);
	account->wait_cpu = 0;
	if (!c)
		return;
	cgroup = cgroup_of(account);
	ns = now - account->wait_since;
	account->sum.wait_ns += ns;
	if (cgroup)
		cgroup->wait_ns += ns;
	for (int i = 0; i < NR_KTHREADS; i++) {
		ns = clock_at(c->clock[i], now) - account->wait_clock[i];
		account->sum.displaced_ns[i] += ns;
		if (cgroup)
			cgroup->displaced_ns[i] += ns;
	}
}

#endif

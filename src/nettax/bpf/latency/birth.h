/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * New tasks, from the fork to where they first run; and kernel threads, from where somebody asks
 * kthreadd for one to where he goes on.
 *
 * kthread_create_on_node() wakes kthreadd and waits; kthreadd forks; the new thread completes the
 * request, by which it wakes the caller, and sleeps until it is given work (kernel/kthread.c).
 */
#ifndef NETTAX_LATENCY_BIRTH_H
#define NETTAX_LATENCY_BIRTH_H

#include "slots.h"

#define KTHREADD 2 /* its pid: init/main.c, rest_init() */

struct birth {
	__u64 forked;
	__u64 woken;
	__u64 ran;
	__u64 group;
	__u32 is_kthread;
	__u32 pad;
};

/* By the child's pid, until it has run; of a kernel thread, until it has woken the caller. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct birth);
} births SEC(".maps");

struct request {
	__u64 asked;
	__u64 forked; /* 0: not yet */
	__u64 ran;
	__u64 woken;
	__u64 group;
};

/* By the pid of the task that asks for a kernel thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct request);
} requests SEC(".maps");

TP(sched_process_fork)
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct birth b = {
	    .forked = bpf_ktime_get_ns(),
	    .is_kthread = READ(parent, pid) == KTHREADD,
	};
	__u32 pid = READ(child, pid);

	if (!follows(CHAIN_FORK) && !b.is_kthread)
		return 0;
	b.group = group_of(parent, 0);
	if (bpf_map_update_elem(&births, &pid, &b, BPF_ANY))
		DOUBT(no_room);
	return 0;
}

TP(sched_wakeup_new)
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	__u32 pid = READ(task, pid);
	struct birth *b = bpf_map_lookup_elem(&births, &pid);

	if (b)
		b->woken = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void births_switch(__u32 pid, __u64 now)
{
	const __u32 stage = CHAIN_FORK * NR_STAGES;
	struct birth *b = bpf_map_lookup_elem(&births, &pid);

	if (!b || b->ran)
		return;
	b->ran = now;
	if (follows(CHAIN_FORK)) {
		record(stage + FORK_WHOLE, b->group, b->forked, now);
		record(stage + FORK_UNTIL_WOKEN, b->group, b->forked, b->woken);
		record(stage + FORK_UNTIL_RUN, b->group, b->woken, now);
	}
	if (!b->is_kthread || !follows(CHAIN_KTHREAD))
		bpf_map_delete_elem(&births, &pid);
}

/* A task asks anew, or exits: what it asked for and is still here ended untraced. */
static __always_inline void requests_end(__u32 pid)
{
	if (!bpf_map_delete_elem(&requests, &pid))
		DOUBT(abandoned);
}

/*
 * A new thread is woken, whose report nobody was seen to be woken by: who asked had not yet slept,
 * or nothing told of his asking, for kthreadd was awake.
 */
static __always_inline void births_unreported(__u32 here, __u32 pid)
{
	struct birth *b = bpf_map_lookup_elem(&births, &pid);

	if (!b || !b->ran)
		return;
	if (!bpf_map_delete_elem(&requests, &here))
		DOUBT(abandoned);
	else
		DOUBT(unmatched);
	bpf_map_delete_elem(&births, &pid);
}

/* In the context of who wakes: the caller of kthread_create_on_node(), or the new thread. */
static __always_inline void births_waking(struct task_struct *task, __u64 now)
{
	__u32 here = (__u32)bpf_get_current_pid_tgid(), pid = READ(task, pid);
	struct request *r;
	struct birth *b;

	if (pid == KTHREADD) {
		struct request asked = {.asked = now, .group = group_here(0)};

		requests_end(here); /* an earlier one of its, should its end not have been seen */
		bpf_map_update_elem(&requests, &here, &asked, BPF_ANY);
		return;
	}
	births_unreported(here, pid);
	b = bpf_map_lookup_elem(&births, &here);
	if (!b)
		return;
	r = bpf_map_lookup_elem(&requests, &pid);
	if (!r) /* an interrupt's waking of another */
		return;
	if (!b->ran) { /* it runs, so the switch to it went untraced */
		DOUBT(abandoned);
		bpf_map_delete_elem(&requests, &pid);
	} else {
		r->forked = b->forked;
		r->ran = b->ran;
		r->woken = now;
	}
	bpf_map_delete_elem(&births, &here);
}

static __always_inline void births_exit(__u32 pid)
{
	struct birth *b = bpf_map_lookup_elem(&births, &pid);

	if (b && !b->ran)
		DOUBT(abandoned);
	else if (b)
		DOUBT(unmatched);
	bpf_map_delete_elem(&births, &pid);
}

static __always_inline void requests_switch(__u32 pid, __u64 now)
{
	const __u32 stage = CHAIN_KTHREAD * NR_STAGES;
	struct request *r = bpf_map_lookup_elem(&requests, &pid);

	if (!r || !r->woken)
		return;
	record(stage + KTHREAD_WHOLE, r->group, r->asked, now);
	record(stage + KTHREAD_UNTIL_FORK, r->group, r->asked, r->forked);
	record(stage + KTHREAD_UNTIL_RUN, r->group, r->forked, r->ran);
	record(stage + KTHREAD_UNTIL_WAKE, r->group, r->ran, r->woken);
	record(stage + KTHREAD_UNTIL_BACK, r->group, r->woken, now);
	bpf_map_delete_elem(&requests, &pid);
}

#endif

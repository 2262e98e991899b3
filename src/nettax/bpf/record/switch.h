/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The scheduler's events, and who the tasks in them are. */
#ifndef NETTAX_RECORD_SWITCH_H
#define NETTAX_RECORD_SWITCH_H

#include "ring.h"

/* What was told of a task. Its pid may be reused, its pid and start time may not. */
struct known_task {
	__u64 start_ns;
	__u64 cgroup;
	__u64 billed_until; /* sum_exec_runtime as it came to its CPU */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct known_task);
} known_tasks SEC(".maps");

static __noinline void tell_task(struct task_struct *task, __u64 now)
{
	struct known_task known = {
	    .start_ns = READ(task, start_boottime),
	    .cgroup = READ(task, cgroups, dfl_cgrp, kn, id),
	    .billed_until = READ(task, se.sum_exec_runtime),
	};
	struct note note = {
	    .time_ns = now,
	    .kind = NOTE_TASK,
	    .id = READ(task, pid),
	    .number = READ(task, tgid),
	    .kthread = !!(READ(task, flags) & PF_KTHREAD),
	    .start_ns = known.start_ns,
	    .group = known.cgroup,
	};

	bpf_probe_read_kernel_str(note.name, sizeof(note.name), &task->comm);
	if (send(&note)) /* else again at its next switch */
		bpf_map_update_elem(&known_tasks, &note.id, &known, BPF_ANY);
}

/* A task comes to a CPU. */
static __always_inline void arrive(struct task_struct *task, __u64 now)
{
	__u32 pid = READ(task, pid);
	struct known_task *known = bpf_map_lookup_elem(&known_tasks, &pid);

	if (known && known->start_ns == READ(task, start_boottime) &&
	    known->cgroup == READ(task, cgroups, dfl_cgrp, kn, id))
		known->billed_until = READ(task, se.sum_exec_runtime);
	else
		tell_task(task, now);
}

/* A task leaves its CPU, at a SWITCH or as the recording ends. */
static __always_inline void leave(struct task_struct *task, struct event *e)
{
	__u32 pid = READ(task, pid);
	struct known_task *known = bpf_map_lookup_elem(&known_tasks, &pid);
	__u64 billed = READ(task, se.sum_exec_runtime);

	if (!known || known->start_ns != READ(task, start_boottime)) {
		tell_task(task, e->time_ns); /* it came untraced */
		return;
	}
	e->value = billed - known->billed_until;
	e->flags |= BILLED;
	/* Its next coming may go untraced. */
	known->billed_until = billed;
}

TP(sched_switch)
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct cpu *c = armed_cpu();
	struct event e;

	if (!c)
		return 0;
	c->traced.switches++;
	e = new_event(SWITCH);
	e.pid = READ(prev, pid);
	e.id = READ(next, pid);
	e.a = has_prev_state ? ((volatile __u64 *)ctx)[3] : READ(prev, __state);
	e.b = READ(prev, prio);
	e.c = READ(next, prio);
	if (preempt)
		e.flags = PREEMPTED;
	/* What softirqs there were are over, whether their exit was seen or not. */
	c->serving = false;
	c->pending = 0;
	if (e.pid)
		leave(prev, &e);
	if (e.a & TASK_DEAD) {
		e.flags |= DEAD;
		bpf_map_delete_elem(&known_tasks, &e.pid);
	}
	if (e.id)
		arrive(next, e.time_ns);
	emit_here(c, &e);
	return 0;
}

/* Told in the ring of the CPU where the task will wait, should this one not be recorded. */
static __always_inline int woken(struct task_struct *task, bool is_new)
{
	__u32 target = READ(task, thread_info.cpu);
	__u32 here = bpf_get_smp_processor_id();
	struct cpu *c = bpf_map_lookup_elem(&cpus, &here);
	struct event e;

	if (!c || !c->armed) {
		here = target;
		c = bpf_map_lookup_elem(&cpus, &here);
		if (!c || !c->armed)
			return 0;
	}
	e = new_event(WAKEUP);
	e.id = READ(task, pid);
	e.a = target;
	e.b = READ(task, prio);
	e.c = is_new;
	emit(c, here, &e);
	return 0;
}

TP(sched_wakeup)
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	return woken(task, false);
}

TP(sched_wakeup_new)
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	return woken(task, true);
}

TP(sched_migrate_task)
int BPF_PROG(sched_migrate_task, struct task_struct *task, int target)
{
	struct cpu *c = armed_cpu();
	struct event e;

	if (!c)
		return 0;
	e = new_event(MIGRATE);
	e.id = READ(task, pid);
	e.a = READ(task, thread_info.cpu);
	e.b = target;
	emit_here(c, &e);
	return 0;
}

TP(sched_process_fork)
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct cpu *c = armed_cpu();
	struct event e;

	if (!c)
		return 0;
	e = new_event(FORK);
	e.id = READ(child, pid);
	emit_here(c, &e);
	return 0;
}

TP(sched_process_exit)
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	struct cpu *c = armed_cpu();
	struct event e;

	if (!c)
		return 0;
	e = new_event(EXIT);
	e.id = READ(task, pid);
	emit_here(c, &e);
	return 0;
}

/* The name comes as an argument: the task does not have it yet. */
TP(task_rename)
int BPF_PROG(task_rename, struct task_struct *task, const char *comm)
{
	__u32 pid = READ(task, pid);
	struct note note = {.kind = NOTE_TASK, .id = pid};
	struct known_task *known = bpf_map_lookup_elem(&known_tasks, &pid);

	if (!known)
		return 0;
	note.time_ns = bpf_ktime_get_ns();
	note.number = READ(task, tgid);
	note.kthread = !!(READ(task, flags) & PF_KTHREAD);
	note.start_ns = known->start_ns;
	note.group = known->cgroup;
	bpf_probe_read_kernel_str(note.name, sizeof(note.name), comm);
	if (!send(&note))
		bpf_map_delete_elem(&known_tasks, &pid);
	return 0;
}

#endif

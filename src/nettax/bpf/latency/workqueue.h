/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Work items: queued, begun by a worker, done. */
#ifndef NETTAX_LATENCY_WORKQUEUE_H
#define NETTAX_LATENCY_WORKQUEUE_H

#include "calls.h"

struct queued {
	__u64 since;
	__u64 group;
};

/* By the item's address: it can be pending only once. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct queued);
} queued SEC(".maps");

TP(workqueue_queue_work)
int BPF_PROG(workqueue_queue_work, int req_cpu, void *pwq, struct work_struct *work)
{
	struct queued q = {.since = bpf_ktime_get_ns()};
	__u64 key = (__u64)work;

	q.group = group_here((__u64)READ(work, func));
	if (bpf_map_lookup_elem(&queued, &key)) /* it was cancelled */
		DOUBT(abandoned);
	if (bpf_map_update_elem(&queued, &key, &q, BPF_ANY))
		DOUBT(no_room);
	return 0;
}

TP(workqueue_execute_start)
int BPF_PROG(workqueue_execute_start, struct work_struct *work)
{
	__u64 key = (__u64)work, now = bpf_ktime_get_ns();
	struct queued *q = bpf_map_lookup_elem(&queued, &key);
	struct calls *c;

	if (!q) {
		DOUBT(unmatched);
		return 0;
	}
	c = calls_here(true);
	if (c)
		push_on(c, key, now, q->since, q->group);
	bpf_map_delete_elem(&queued, &key);
	return 0;
}

TP(workqueue_execute_end)
int BPF_PROG(workqueue_execute_end, struct work_struct *work)
{
	__u64 now = bpf_ktime_get_ns(), away;
	const __u32 stage = CHAIN_WORKQUEUE * NR_STAGES;
	struct calls *c = calls_here(false);
	struct frame *f;

	if (!c || !c->depth)
		return 0; /* its begin is accounted for already */
	f = pop(c, (__u64)work, 0);
	if (!f)
		return 0;
	away = c->away_ns - f->away0;
	record(stage + WORK_WHOLE, f->group, f->queued, now);
	record(stage + WORK_QUEUED, f->group, f->queued, f->began);
	record(stage + WORK_CALL, f->group, f->began, now);
	record(stage + WORK_RUNNING, f->group, f->began + away, now);
	record(stage + WORK_WAITING, f->group, 0, away);
	return 0;
}

#endif

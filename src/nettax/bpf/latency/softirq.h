/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Softirqs: raised, begun, done. They are raised on the CPU that serves them, and do not nest. */
#ifndef NETTAX_LATENCY_SOFTIRQ_H
#define NETTAX_LATENCY_SOFTIRQ_H

#include "slots.h"

#define NR_VECTORS BOUND /* 10 of them in use: include/linux/interrupt.h */

struct vectors {
	__u64 raised[NR_VECTORS]; /* since when; 0: not pending */
	__u64 serving;		  /* raised when */
	__u64 began;
	__u64 group;
	__u32 vector; /* the one in service, plus one */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vectors);
} vectors SEC(".maps");

static __always_inline struct vectors *vectors_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&vectors, &zero);
}

TP(softirq_raise)
int BPF_PROG(softirq_raise, unsigned int vector)
{
	struct vectors *v = vectors_here();

	if (v && !v->raised[bounded(vector)]) /* else it is pending already */
		v->raised[bounded(vector)] = bpf_ktime_get_ns();
	return 0;
}

TP(softirq_entry)
int BPF_PROG(softirq_entry, unsigned int vector)
{
	struct vectors *v = vectors_here();
	__u64 now = bpf_ktime_get_ns();

	if (!v)
		return 0;
	v->vector = 0;
	if (!v->raised[bounded(vector)]) {
		DOUBT(unmatched);
		return 0;
	}
	v->serving = v->raised[bounded(vector)];
	v->raised[bounded(vector)] = 0;
	v->began = now;
	v->group = group_here(vector);
	v->vector = vector + 1;
	return 0;
}

TP(softirq_exit)
int BPF_PROG(softirq_exit, unsigned int vector)
{
	const __u32 stage = CHAIN_SOFTIRQ * NR_STAGES;
	struct vectors *v = vectors_here();
	__u64 now = bpf_ktime_get_ns();

	if (!v || v->vector != vector + 1)
		return 0; /* its entry is accounted for already */
	v->vector = 0;
	record(stage + SOFTIRQ_WHOLE, v->group, v->serving, now);
	record(stage + SOFTIRQ_RAISED, v->group, v->serving, v->began);
	record(stage + SOFTIRQ_CALL, v->group, v->began, now);
	return 0;
}

#endif

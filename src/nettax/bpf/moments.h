/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Tests: two objects beside each other that read one clock. The one whose programs come first
 * leaves what it read for the other, so that what the programs cost is in none of the spans, and
 * the two accounts of the same interrupts can be compared to the nanosecond.
 */
#ifndef NETTAX_MOMENTS_H
#define NETTAX_MOMENTS_H

#include "kernel.h"

const volatile bool leave_moments = false;
const volatile bool take_moments = false;

/* Hard IRQs do not interrupt each other, nor do softirqs: a place for each is enough. */
struct moments {
	__u64 hard_ns;
	__u64 soft_ns;
};

/* By CPU, if in use; the one object's map is the other's, too. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moments);
} moments SEC(".maps");

static __always_inline struct moments *moments_here(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&moments, &cpu);
}

static __always_inline __u64 hard_now(void)
{
	struct moments *m = take_moments ? moments_here() : NULL;

	return m ? m->hard_ns : bpf_ktime_get_ns();
}

static __always_inline __u64 soft_now(void)
{
	struct moments *m = take_moments ? moments_here() : NULL;

	return m ? m->soft_ns : bpf_ktime_get_ns();
}

static __always_inline void leave_hard(__u64 now)
{
	struct moments *m = leave_moments ? moments_here() : NULL;

	if (m)
		m->hard_ns = now;
}

static __always_inline void leave_soft(__u64 now)
{
	struct moments *m = leave_moments ? moments_here() : NULL;

	if (m)
		m->soft_ns = now;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What went untraced: some hosts hide their supervisor's threads from all tracing, and with them
 * the softirqs that interrupt them and those softirqs' packets. The kernel's own counters miss
 * nothing, so they are compared with what came to the programs.
 */
#ifndef NETTAX_RECORD_COUNTS_H
#define NETTAX_RECORD_COUNTS_H

#include "ring.h"

/* Where the kernel counts in a CPU's per-CPU area, as in percpu.h. */
const volatile bool has_counts_offsets = false;
const volatile __u64 softirqs_offset = 0; /* struct kernel_stat, its softirqs */
const volatile __u64 switches_offset = 0; /* struct rq, its nr_switches */
const volatile __u64 packets_offset = 0;  /* struct softnet_data, its processed */

/* A try fails only if a softirq came in the middle of it. */
#define MOST_TRIES 16

static __always_inline void count_kernel(__u64 base, struct counts *kernel)
{
	for (int i = 0; i < NR_VECTORS; i++)
		kernel->softirqs[i] = percpu(base, softirqs_offset + 4 * i, sizeof(__u32));
	kernel->switches = percpu(base, switches_offset, sizeof(__u32));
	kernel->packets = percpu(base, packets_offset, sizeof(__u32));
	barrier();
}

static __always_inline bool same(const struct counts *a, const struct counts *b)
{
	__u32 differ = (a->switches ^ b->switches) | (a->packets ^ b->packets);

	for (int i = 0; i < NR_VECTORS; i++)
		differ |= a->softirqs[i] ^ b->softirqs[i];
	return !differ;
}

/* What the kernel counted on this armed CPU since it booted, and no program did. */
static __noinline int count_untraced(struct cpu *c)
{
	struct counts before, after;

	if (!has_counts_offsets || !c || !c->percpu_base)
		return 0;
	for (int tries = 0; tries < MOST_TRIES; tries++) {
		count_kernel(c->percpu_base, &before);
		for (int i = 0; i < NR_VECTORS; i++)
			c->untraced.softirqs[i] = before.softirqs[i] - c->traced.softirqs[i];
		c->untraced.switches = before.switches - c->traced.switches;
		c->untraced.packets = before.packets - c->traced.packets;
		c->untraced.tagged = c->traced.tagged;
		barrier();
		count_kernel(c->percpu_base, &after);
		if (same(&before, &after))
			break;
	}
	return 0;
}

#endif

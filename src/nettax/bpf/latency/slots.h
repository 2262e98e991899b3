/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where times are counted, and by whom. */
#ifndef NETTAX_LATENCY_SLOTS_H
#define NETTAX_LATENCY_SLOTS_H

#include "../kernel.h"
#include "../latency.h"

const volatile __u32 chains = 0; /* a bit for each enum chain that is followed */
const volatile __u32 by = BY_NOTHING;
const volatile __u32 by_argument = 0; /* of a function: from 1 on */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, struct slot_key);
	__type(value, struct slot);
} slots SEC(".maps");

struct name {
	char comm[16];
};

/* Of processes, by their id: they may be gone when somebody asks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct name);
} names SEC(".maps");

/* Calls that no histogram has. */
__u64 unmatched = 0; /* ends whose begin was not seen */
__u64 abandoned = 0; /* begins whose end was not seen, and cannot come any more */
__u64 no_room = 0;   /* in the maps */
__u64 too_deep = 0;  /* more calls within one another than a task has frames */

#define DOUBT(what) __sync_fetch_and_add(&(what), 1)

#define BOUND 16

/* An index below BOUND. The compiler would leave out an `&` after a comparison, and verifiers want
 * to see it. */
static __always_inline __u32 bounded(__u32 index)
{
	asm volatile("%0 &= 15" : "+r"(index));
	return index;
}

static __always_inline bool follows(enum chain chain)
{
	return chains & (1U << chain);
}

static __always_inline __u32 slot_of(__u64 ns)
{
	__u32 power = 0;
	__u64 rest = ns;

	for (__u32 shift = 32; shift; shift >>= 1) {
		if (rest >> shift) {
			rest >>= shift;
			power += shift;
		}
	}
	if (power <= SLOT_BITS)
		return ns;
	power -= SLOT_BITS;
	return (power << SLOT_BITS) + (ns >> power);
}

/* An interrupt on this CPU may count in the same slot. */
static __always_inline void record(__u32 stage, __u64 group, __u64 from, __u64 until)
{
	struct slot_key key = {.stage = stage, .group = group};
	__u64 ns = until > from ? until - from : 0; /* clocks of two CPUs may differ by a hair */
	struct slot *slot;

	key.slot = slot_of(ns);
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot) {
		struct slot empty = {.least_ns = ~0ULL};

		bpf_map_update_elem(&slots, &key, &empty, BPF_NOEXIST);
		slot = bpf_map_lookup_elem(&slots, &key);
		if (!slot) {
			DOUBT(no_room);
			return;
		}
	}
	__sync_fetch_and_add(&slot->count, 1);
	__sync_fetch_and_add(&slot->sum_ns, ns);
	/* Zero where another CPU made the entry: its own copy alone was set. */
	if (ns < slot->least_ns || !slot->least_ns)
		slot->least_ns = ns;
	if (ns > slot->most_ns)
		slot->most_ns = ns;
}

/* Whose call it is, if that is a matter of the task. */
static __always_inline __u64 group_of(struct task_struct *task, __u64 argument)
{
	struct name name = {};
	__u64 id;

	if (by == BY_ARGUMENT)
		return argument;
	if (by == BY_CGROUP)
		return READ(task, cgroups, dfl_cgrp, kn, id);
	if (by != BY_PROCESS)
		return 0;
	id = READ(task, tgid);
	if (!bpf_map_lookup_elem(&names, &id)) {
		bpf_probe_read_kernel_str(name.comm, sizeof(name.comm), &task->comm);
		bpf_map_update_elem(&names, &id, &name, BPF_ANY);
	}
	return id;
}

static __always_inline __u64 group_here(__u64 argument)
{
	return by == BY_NOTHING ? 0 : group_of(bpf_get_current_task_btf(), argument);
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Calls in flight: a stack of frames for each task, so that concurrent calls do not mix and
 * recursive and nested ones each have their own end. What the task was off its CPU for, meanwhile,
 * is counted once, at the switches, and each frame subtracts where that stood as it began.
 */
#ifndef NETTAX_LATENCY_CALLS_H
#define NETTAX_LATENCY_CALLS_H

#include "slots.h"

#define NR_FRAMES BOUND

struct frame {
	__u64 id; /* what its end is known by */
	__u64 began;
	__u64 away0;
	__u64 queued; /* since when, of a work item; of a function's call, its number */
	__u64 group;
	__u64 pad;
};

struct calls {
	__u64 away_ns; /* time off the CPU in all */
	__u64 left;    /* the CPU, when; 0: it is on one */
	__u32 depth;
	__u32 pad;
	struct frame frames[NR_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* the user side sets it, where calls are followed */
	__type(key, __u32);
	__type(value, struct calls);
} calls SEC(".maps");

/* A copy for new entries: it would not fit on the stack. */
static const struct calls no_calls;

/* The idle tasks are all pid 0; each is told by its CPU. */
static __always_inline __u32 task_key(__u32 pid)
{
	return pid ?: 0x80000000U | bpf_get_smp_processor_id();
}

static __always_inline struct calls *calls_here(bool make)
{
	__u32 key = task_key((__u32)bpf_get_current_pid_tgid());
	struct calls *c = bpf_map_lookup_elem(&calls, &key);

	if (!c && make) {
		bpf_map_update_elem(&calls, &key, &no_calls, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&calls, &key);
		if (!c)
			DOUBT(no_room);
	}
	return c;
}

/*
 * At one place of a stack only the latest call can be under way: of a frame with its id, and of
 * those above that, the ends were missed.
 */
static __always_inline void forget(struct calls *c, __u64 id)
{
	__u32 depth = c->depth;

	for (__u32 above = 0; above < NR_FRAMES; above++) {
		__u32 at = depth - 1 - above;

		if (at >= NR_FRAMES)
			break;
		if (c->frames[bounded(at)].id == id) {
			__sync_fetch_and_add(&abandoned, above + 1);
			c->depth = at;
			break;
		}
	}
}

static __always_inline void push_on(struct calls *c, __u64 id, __u64 now, __u64 queued, __u64 group)
{
	struct frame *f;

	forget(c, id);
	if (c->depth >= NR_FRAMES) {
		DOUBT(too_deep);
		return;
	}
	f = &c->frames[bounded(c->depth)];
	c->left = 0; /* it runs, whether the switch to it was traced or not */
	f->id = id;
	f->began = now;
	f->away0 = c->away_ns;
	f->queued = queued;
	f->group = group;
	c->depth++;
}

/*
 * Take the frame whose id is at most `slack` below this one, and forget those above it: their ends
 * were not seen. NULL: its begin was not.
 */
static __always_inline struct frame *pop(struct calls *c, __u64 id, __u64 slack)
{
	__u32 depth = c->depth;

	for (__u32 above = 0; above < NR_FRAMES; above++) {
		__u32 at = depth - 1 - above;
		struct frame *f;

		if (at >= NR_FRAMES)
			break;
		f = &c->frames[bounded(at)];
		if (id - f->id <= slack) {
			if (above)
				__sync_fetch_and_add(&abandoned, above);
			c->depth = at;
			return f;
		}
	}
	DOUBT(unmatched);
	return NULL;
}

static __always_inline void calls_switch(struct task_struct *prev, struct task_struct *next,
					 __u64 now)
{
	__u32 leaving = task_key(READ(prev, pid)), coming = task_key(READ(next, pid));
	struct calls *c = bpf_map_lookup_elem(&calls, &leaving);

	if (c && c->depth)
		c->left = now;
	c = bpf_map_lookup_elem(&calls, &coming);
	if (c && c->left) {
		c->away_ns += now - c->left;
		c->left = 0;
	}
}

static __always_inline void calls_exit(__u32 pid)
{
	struct calls *c = bpf_map_lookup_elem(&calls, &pid);

	if (!c)
		return;
	if (c->depth)
		__sync_fetch_and_add(&abandoned, c->depth);
	bpf_map_delete_elem(&calls, &pid);
}

#endif

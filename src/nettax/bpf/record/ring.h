/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Rings of events, and what was lost for want of room in them. */
#ifndef NETTAX_RECORD_RING_H
#define NETTAX_RECORD_RING_H

#include "../moments.h"
#include "../percpu.h"
#include "../record.h"

struct cpu {
	__u64 percpu_base; /* address of this CPU's per-CPU area; 0: unknown */
	struct lost_events lost;
	struct counts traced;	/* that came to a program */
	struct counts untraced; /* that did not, as of the last mark, from some time on */
	__u32 pending;		/* vectors that irq_exit is about to run */
	bool serving;		/* a softirq */
	bool by_irq_exit;	/* that irq_exit runs */
	bool armed;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* the user side sets the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

/* By CPU; the user side makes those of the CPUs that it records. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

/* Of struct note, from all CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} notes SEC(".maps");

__u64 notes_lost = 0;

/* So that the object's BTF tells the user side what these are. */
struct event *of_rings __attribute__((unused));
struct note *of_notes __attribute__((unused));
enum event_kind *of_kind __attribute__((unused));
enum event_flag *of_flags __attribute__((unused));
enum vector_name *of_vectors __attribute__((unused));

/* This CPU's state, or NULL while it is not recorded. */
static __always_inline struct cpu *armed_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu *c = bpf_map_lookup_elem(&cpus, &cpu);

	return c && c->armed ? c : NULL;
}

/* What a program costs, much of it where it meets cold memory, should lie outside the span that its
 * event bounds: an entry's clock is read last (open_event, submit), an exit's first (new_event). */
static __always_inline struct event new_event(__u8 kind)
{
	struct event e = {
	    .time_ns = bpf_ktime_get_ns(),
	    .pid = (__u32)bpf_get_current_pid_tgid(),
	    .cpu = bpf_get_smp_processor_id(),
	    .kind = kind,
	};

	return e;
}

static __noinline void lose(struct lost_events *lost, __u64 now)
{
	if (!lost->events)
		lost->first_ns = now;
	lost->last_ns = now;
	__sync_fetch_and_add(&lost->events, 1);
	__sync_fetch_and_add(&lost->untold, 1);
}

/* There may be room again: say in the stream itself that it has a gap here. */
static __noinline void tell_lost(struct lost_events *lost, __u32 cpu)
{
	void *ring = bpf_map_lookup_elem(&rings, &cpu);
	struct event e = new_event(LOST);

	if (!ring)
		return;
	e.cpu = cpu;
	e.value = __sync_lock_test_and_set(&lost->untold, 0);
	if (e.value && bpf_ringbuf_output(ring, &e, sizeof(e), BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&lost->untold, e.value);
}

/* Put an event into the ring of a CPU, whose state is c. */
static __always_inline void emit(struct cpu *c, __u32 cpu, struct event *e)
{
	void *ring = bpf_map_lookup_elem(&rings, &cpu);

	if (c->lost.untold)
		tell_lost(&c->lost, cpu);
	if (ring && bpf_ringbuf_output(ring, e, sizeof(*e), BPF_RB_NO_WAKEUP))
		lose(&c->lost, e->time_ns);
}

static __always_inline void emit_here(struct cpu *c, struct event *e)
{
	emit(c, bpf_get_smp_processor_id(), e);
}

/* Room for an event in this CPU's ring, filled but for its time; NULL: it is lost. */
static __always_inline struct event *open_event(struct cpu *c, __u8 kind, __s32 id)
{
	__u32 cpu = bpf_get_smp_processor_id();
	void *ring = bpf_map_lookup_elem(&rings, &cpu);
	struct event *e;

	if (!ring)
		return NULL;
	if (c->lost.untold)
		tell_lost(&c->lost, cpu);
	e = bpf_ringbuf_reserve(ring, sizeof(*e), 0);
	if (!e) {
		lose(&c->lost, bpf_ktime_get_ns());
		return NULL;
	}
	e->pid = (__u32)bpf_get_current_pid_tgid();
	e->cpu = cpu;
	e->kind = kind;
	e->flags = 0;
	e->id = id;
	e->a = 0;
	e->b = 0;
	e->c = 0;
	e->value = 0;
	return e;
}

/* Returns its time. */
static __always_inline __u64 submit(struct event *e)
{
	__u64 now = bpf_ktime_get_ns();

	e->time_ns = now;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return now;
}

static __always_inline bool send(struct note *note)
{
	if (!bpf_ringbuf_output(&notes, note, sizeof(*note), BPF_RB_NO_WAKEUP))
		return true;
	__sync_fetch_and_add(&notes_lost, 1);
	return false;
}

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The upper two levels of a CPU: hard IRQs, and softirqs with their polls. Times are exclusive: a
 * hard IRQ inside a softirq is taken out of it.
 *
 * A recording without switches is accounted for here: each hard IRQ and each softirq, as it ends,
 * is a slice of its own, of whoever was current.
 */
#include "replay_state.h"

#define NET_RX	 3	       /* include/linux/interrupt.h */
#define IPIS	 4	       /* the first of VECTOR_NAMES: those by which CPUs call each other */
#define HARDIRQS EVENT_VECTORS /* rows of the histograms */
#define POLLS	 (EVENT_VECTORS + 1)

enum { TRIGGER_IRQ_EXIT, TRIGGER_BH_ENABLE, TRIGGER_UNKNOWN };

/* A hard IRQ begins, perhaps inside another. */
void replay_hard_entry(const struct replay *replay, struct replay_cpu *cpu)
{
	if (!cpu->depth++)
		cpu->hard_since = replay->now;
}

/* No hard IRQ or softirq can be under way here: one that seems to be has lost its exit. */
void replay_heal(struct replay_cpu *cpu)
{
	cpu->sums.unmatched += (cpu->depth > 0) + (cpu->vector >= 0);
	cpu->depth = 0;
	cpu->vector = -1;
}

static void count_run(struct replay *replay, int row, uint64_t ns)
{
	int slot = (int64_t)ns < 1 ? 0 : 63 - __builtin_clzll(ns);

	replay->totals.histograms[row][slot < REPLAY_SLOTS ? slot : REPLAY_SLOTS - 1]++;
}

/* An interrupt or a softirq that ends, where no switches were recorded. */
static void close_one(struct replay *replay, struct replay_cpu *cpu, int32_t pid)
{
	cpu->since = replay->now - cpu->taken.hard - cpu->taken.soft;
	replay_close_slice(replay, cpu, pid, replay->now, REPLAY_NOT_BILLED);
}

void replay_hard_exit(struct replay *replay, struct replay_cpu *cpu, const struct event *event)
{
	uint64_t ns;

	if (!cpu->depth) {
		cpu->sums.unmatched += !cpu->hard_grace;
		cpu->hard_grace = false;
		return;
	}
	cpu->sums.ipis += event->kind == EVENT_VECTOR_EXIT && event->a < IPIS;
	if (--cpu->depth)
		return;
	ns = replay->now - cpu->hard_since;
	cpu->sums.interrupts++;
	cpu->sums.hard_ns += ns;
	cpu->taken.interrupts++;
	cpu->taken.hard += ns;
	count_run(replay, HARDIRQS, ns);
	if (!replay->sliced)
		close_one(replay, cpu, event->pid);
}

void replay_soft_entry(struct replay *replay, struct replay_cpu *cpu, const struct event *event)
{
	replay_heal(cpu);
	cpu->vector = event->id;
	cpu->soft_since = cpu->poll_since = replay->now;
	cpu->soft_hard = cpu->poll_hard = cpu->sums.hard_ns;
	if (event->flags & EVENT_BH_ENABLE)
		cpu->trigger = TRIGGER_BH_ENABLE;
	else
		cpu->trigger = event->flags & EVENT_IRQ_EXIT ? TRIGGER_IRQ_EXIT : TRIGGER_UNKNOWN;
}

/* Book the softirq under way, as far as it has come: less the hard IRQs inside it. */
static uint64_t book_softirq(struct replay *replay, struct replay_cpu *cpu)
{
	uint64_t ns = (replay->now - cpu->soft_since) - (cpu->sums.hard_ns - cpu->soft_hard);

	cpu->sums.soft_ns[cpu->vector] += ns;
	cpu->taken.soft += ns;
	cpu->taken.vectors[cpu->vector] += ns;
	cpu->taken.triggers[cpu->trigger] += ns;
	return ns;
}

void replay_soft_exit(struct replay *replay, struct replay_cpu *cpu, const struct event *event)
{
	if (cpu->vector != event->id || cpu->vector < 0 || cpu->vector >= EVENT_VECTORS) {
		cpu->sums.unmatched += !cpu->soft_grace;
		cpu->soft_grace = false;
	} else {
		cpu->sums.soft_count[cpu->vector]++;
		count_run(replay, cpu->vector, book_softirq(replay, cpu));
		if (!replay->sliced)
			close_one(replay, cpu, event->pid);
	}
	cpu->vector = -1;
}

/* The event comes after the poll, which began where the one before it ended, or its softirq. */
void replay_poll(struct replay *replay, struct replay_cpu *cpu, const struct event *event)
{
	uint64_t packets = (int64_t)event->a;

	cpu->sums.polls++;
	cpu->sums.packets += packets;
	if (cpu->vector != NET_RX)
		return;
	cpu->sums.softirq_packets += packets;
	count_run(replay, POLLS,
		  (replay->now - cpu->poll_since) - (cpu->sums.hard_ns - cpu->poll_hard));
	cpu->poll_since = replay->now;
	cpu->poll_hard = cpu->sums.hard_ns;
}

/* Count what is under way as far as it has come, as a reading of the ledger does. */
void replay_settle_levels(struct replay *replay, struct replay_cpu *cpu)
{
	if (cpu->depth) {
		cpu->sums.hard_ns += replay->now - cpu->hard_since;
		cpu->taken.hard += replay->now - cpu->hard_since;
	}
	if (cpu->vector >= 0 && cpu->vector < EVENT_VECTORS)
		book_softirq(replay, cpu);
}

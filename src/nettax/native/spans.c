// SPDX-License-Identifier: Apache-2.0
/*
 * A CPU holds its spans in order of their starts: first those of the group that may still grow,
 * then what the bottom of the stack of open entries has begun. The stack is linked by place.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "spans.h"

#define SAME_NS 1000 /* between handlers of one interrupt */
#define FOLLOWS_NS                                                                                 \
	20000	 /* between an interrupt, or a softirq, and the softirq that it leads to           \
		  */
#define NET_RX 3 /* include/linux/interrupt.h */
#define RAISE  5 /* SOFTIRQ_RAISE of nettax.events.model */

#define MOST_HELD  (1 << 16) /* spans: an exit that late was lost, a group that long is cut */
#define MOST_DEPTH 64

struct cpu {
	struct span *spans;
	struct poll *polls;
	size_t span_count, span_room;
	size_t poll_count, poll_room;
	size_t group_spans, group_polls; /* of these, how many are the group's */
	uint32_t stack[MOST_DEPTH];	 /* places of open entries */
	int depth;
	uint32_t switches;
	uint64_t end;  /* of the group */
	uint64_t next; /* the first entry since; 0: none */
	uint64_t poll_since;
	uint64_t raised[EVENT_VECTORS];
};

struct spans {
	uint64_t now;
	size_t held;
	bool full; /* there was no memory */
	size_t cpu_count;
	struct cpu *met[EVENT_EVERY_CPU];  /* in the order in which they were met, */
	struct cpu *cpus[EVENT_EVERY_CPU]; /* and by number */
};

struct spans *spans_open(void)
{
	return calloc(1, sizeof(struct spans));
}

void spans_close(struct spans *spans)
{
	for (size_t i = 0; i < spans->cpu_count; i++) {
		free(spans->met[i]->spans);
		free(spans->met[i]->polls);
		free(spans->met[i]);
	}
	free(spans);
}

size_t spans_held(const struct spans *spans)
{
	return spans->held;
}

/* Room for one more; NULL: there is no memory. */
static void *grown(void *array, size_t count, size_t *room, size_t size)
{
	void *more;

	if (count < *room)
		return array;
	more = realloc(array, (*room ? 2 * *room : 64) * size);
	if (more)
		*room = *room ? 2 * *room : 64;
	return more;
}

static bool is_rx(const struct span *span)
{
	return span->kind == EVENT_SOFTIRQ_ENTRY && span->id == NET_RX;
}

static bool is_hard(const struct span *span)
{
	return span->kind != EVENT_SOFTIRQ_ENTRY;
}

/* Give what is held of a group, and forget it. */
static void give_group(struct spans *spans, struct cpu *cpu, struct spans_out *out)
{
	size_t count = cpu->group_spans, polls = cpu->group_polls;
	struct group *group = &out->groups[out->group_count];
	const struct span *first = cpu->spans;

	if (!count)
		return;
	out->group_count++;
	*group = (struct group){
	    .start_ns = first->start_ns,
	    .end_ns = cpu->end,
	    .gap_ns = cpu->next ? (int64_t)(cpu->next - cpu->end) : -1,
	    .first_span = out->span_count,
	    .first_poll = out->poll_count,
	    .spans = count,
	    .polls = polls,
	    .pid = first->pid,
	    .cpu = first->cpu,
	    .by_irq = is_hard(first),
	};
	for (const struct span *span = first; span < first + count; span++) {
		if (span->level)
			group->inside += is_hard(span);
		else if (is_rx(span) && !group->rounds++) {
			group->rx_start_ns = span->start_ns;
			group->rx_raised_ns = span->raised_ns;
		}
	}
	memcpy(out->spans + out->span_count, cpu->spans, count * sizeof(*cpu->spans));
	out->span_count += count;
	cpu->span_count -= count;
	memmove(cpu->spans, cpu->spans + count, cpu->span_count * sizeof(*cpu->spans));
	if (polls) {
		memcpy(out->polls + out->poll_count, cpu->polls, polls * sizeof(*cpu->polls));
		out->poll_count += polls;
		cpu->poll_count -= polls;
		memmove(cpu->polls, cpu->polls + polls, cpu->poll_count * sizeof(*cpu->polls));
	}
	spans->held -= count + polls;
	cpu->group_spans = cpu->group_polls = 0;
	cpu->next = 0;
}

/* Whether a span that nothing is around goes with the group before it. */
static bool follows(const struct cpu *cpu, const struct span *last, const struct span *span)
{
	uint64_t between = span->start_ns - cpu->end;

	if (span->switches != last->switches || cpu->group_spans >= MOST_HELD)
		return false;
	if (is_hard(span))
		return is_hard(last) && between <= SAME_NS;
	return between <= FOLLOWS_NS && span->raised_ns <= cpu->end;
}

/* All that is held beyond the group is whole: it joins the group, or begins the next. */
static void settle(struct spans *spans, struct cpu *cpu, struct spans_out *out)
{
	size_t place = cpu->group_spans;

	while (place < cpu->span_count) {
		const struct span *span = cpu->spans + place;
		size_t after = place + 1;

		while (after < cpu->span_count && cpu->spans[after].level)
			after++;
		if (place) {
			const struct span *last = span - 1;

			while (last->level)
				last--;
			if (!follows(cpu, last, span)) {
				cpu->next = cpu->next ? cpu->next : span->start_ns;
				give_group(spans, cpu, out);
				after -= place;
				span = cpu->spans;
			}
		}
		cpu->end = span->end_ns;
		cpu->next = 0;
		for (const struct span *each = span; each < cpu->spans + after; each++)
			cpu->group_polls += each->polls;
		cpu->group_spans = place = after;
	}
}

/* What is open will find no exit. What is whole inside stays; polls outside it go at once. */
static void give_up(struct spans *spans, struct cpu *cpu, struct spans_out *out)
{
	size_t kept = cpu->group_spans, kept_polls = cpu->group_polls;
	uint32_t dead = 0;
	bool cut = false;

	if (!cpu->depth)
		return;
	for (size_t i = cpu->group_polls; i < cpu->poll_count; i++) {
		if (cpu->spans[cpu->polls[i].owner].state == SPAN_WHOLE)
			cpu->polls[kept_polls++] = cpu->polls[i];
		else
			out->polls[out->poll_count++] = cpu->polls[i];
	}
	for (size_t i = cpu->group_spans; i < cpu->span_count; i++) {
		struct span *span = cpu->spans + i;

		if (span->state == SPAN_WHOLE) {
			span->level -= dead;
			span->in_softirq &= span->level || cut;
			cpu->spans[kept++] = *span;
			continue;
		}
		dead++;
		cut = span->state == SPAN_CUT;
		if (cut)
			out->spans[out->span_count++] = *span;
	}
	spans->held -= cpu->span_count - kept + cpu->poll_count - kept_polls;
	cpu->span_count = kept;
	cpu->poll_count = kept_polls;
	cpu->depth = 0;
	settle(spans, cpu, out);
}

static void enter(struct spans *spans, struct cpu *cpu, const struct event *event,
		  struct spans_out *out)
{
	bool soft = event->kind == EVENT_SOFTIRQ_ENTRY;
	uint64_t *raised =
	    soft && event->id >= 0 && event->id < EVENT_VECTORS ? &cpu->raised[event->id] : NULL;
	struct span *more;

	if (cpu->depth == MOST_DEPTH || cpu->span_count - cpu->group_spans >= MOST_HELD)
		give_up(spans, cpu, out);
	more = grown(cpu->spans, cpu->span_count, &cpu->span_room, sizeof(*more));
	if (!more) {
		spans->full = true;
		return;
	}
	cpu->spans = more;
	if (!cpu->depth && !cpu->next)
		cpu->next = event->time_ns;
	cpu->spans[cpu->span_count] = (struct span){
	    .start_ns = event->time_ns,
	    .raised_ns = raised ? *raised : 0,
	    .pid = event->pid,
	    .id = event->id,
	    .name = event->a,
	    .switches = cpu->switches,
	    .cpu = event->cpu,
	    .kind = event->kind,
	    .flags = event->flags,
	    .level = cpu->depth,
	};
	if (raised)
		*raised = 0;
	if (is_rx(cpu->spans + cpu->span_count))
		cpu->poll_since = event->time_ns;
	cpu->stack[cpu->depth++] = cpu->span_count++;
	spans->held++;
}

/* End the innermost. */
static void close_one(struct cpu *cpu, uint64_t now, uint8_t state)
{
	struct span *span = cpu->spans + cpu->stack[--cpu->depth];

	span->end_ns = now;
	span->state = state;
	if (cpu->depth && is_hard(span)) {
		struct span *around = cpu->spans + cpu->stack[cpu->depth - 1];

		around->hard_ns += now - span->start_ns;
		span->in_softirq = !is_hard(around);
	}
}

static void leave(struct spans *spans, struct cpu *cpu, const struct event *event,
		  struct spans_out *out)
{
	const struct span *span = cpu->depth ? cpu->spans + cpu->stack[cpu->depth - 1] : NULL;

	if (!span || span->kind + 1 != event->kind || span->id != event->id) {
		give_up(spans, cpu, out);
		return;
	}
	close_one(cpu, event->time_ns, SPAN_WHOLE);
	if (!cpu->depth)
		settle(spans, cpu, out);
}

static void poll(struct spans *spans, struct cpu *cpu, const struct event *event,
		 struct spans_out *out)
{
	struct poll found = {
	    .end_ns = event->time_ns,
	    .pid = event->pid,
	    .device = event->id,
	    .work = event->a,
	    .budget = event->b,
	    .cpu = event->cpu,
	};
	int level = cpu->depth - 1;
	struct span *span;
	struct poll *more;

	while (level >= 0 && !is_rx(cpu->spans + cpu->stack[level]))
		level--;
	if (level < 0) {
		out->polls[out->poll_count++] = found;
		return;
	}
	span = cpu->spans + cpu->stack[level];
	span->polls++;
	span->packets += event->a > 0 ? event->a : 0;
	span->full += event->b > 0 && event->a >= event->b;
	found.owner = cpu->stack[level];
	found.start_ns = cpu->poll_since;
	cpu->poll_since = event->time_ns;
	more = grown(cpu->polls, cpu->poll_count, &cpu->poll_room, sizeof(*more));
	if (!more) {
		spans->full = true;
		return;
	}
	cpu->polls = more;
	cpu->polls[cpu->poll_count++] = found;
	spans->held++;
}

/* The recording ends here: what is open lasts to this moment, at least. */
static void cut(struct spans *spans, struct cpu *cpu, uint64_t now, struct spans_out *out)
{
	int depth = cpu->depth;

	while (cpu->depth)
		close_one(cpu, now, SPAN_CUT);
	cpu->depth = depth;
	give_up(spans, cpu, out);
}

static void one(struct spans *spans, struct cpu *cpu, const struct event *event,
		struct spans_out *out)
{
	switch (event->kind) {
	case EVENT_HARDIRQ_ENTRY:
	case EVENT_VECTOR_ENTRY:
	case EVENT_SOFTIRQ_ENTRY:
		enter(spans, cpu, event, out);
		break;
	case EVENT_HARDIRQ_EXIT:
	case EVENT_VECTOR_EXIT:
	case EVENT_SOFTIRQ_EXIT:
		leave(spans, cpu, event, out);
		break;
	case EVENT_NAPI_POLL:
		poll(spans, cpu, event, out);
		break;
	case RAISE:
		if (event->id >= 0 && event->id < EVENT_VECTORS && !cpu->raised[event->id])
			cpu->raised[event->id] = event->time_ns;
		break;
	case EVENT_SWITCH:
		cpu->switches++;
		give_up(spans, cpu, out);
		break;
	case EVENT_LOST:
	case EVENT_BEGIN:
		/* Nobody knows what came next. */
		give_up(spans, cpu, out);
		give_group(spans, cpu, out);
		memset(cpu->raised, 0, sizeof(cpu->raised));
		break;
	case EVENT_END:
		cut(spans, cpu, event->time_ns, out);
		give_group(spans, cpu, out);
		break;
	}
}

static struct cpu *cpu_of(struct spans *spans, uint16_t number)
{
	struct cpu *cpu = spans->cpus[number];

	if (cpu)
		return cpu;
	cpu = spans->cpus[number] = calloc(1, sizeof(*cpu));
	if (!cpu)
		spans->full = true;
	else
		spans->met[spans->cpu_count++] = cpu;
	return cpu;
}

/* Before when nothing can begin a group any more. */
static uint64_t known(const struct spans *spans)
{
	uint64_t least = spans->now;

	for (size_t i = 0; i < spans->cpu_count; i++) {
		const struct cpu *cpu = spans->met[i];

		if (cpu->span_count && cpu->spans->start_ns < least)
			least = cpu->spans->start_ns;
	}
	return least;
}

int spans_feed(struct spans *spans, const struct event *events, size_t count, struct spans_out *out)
{
	for (const struct event *event = events; event < events + count; event++) {
		struct cpu *cpu;

		spans->now = event->time_ns;
		if (event->cpu == EVENT_EVERY_CPU) {
			for (size_t i = 0; i < spans->cpu_count; i++)
				one(spans, spans->met[i], event, out);
			continue;
		}
		cpu = cpu_of(spans, event->cpu);
		if (cpu)
			one(spans, cpu, event, out);
	}
	out->known_ns = known(spans);
	return spans->full ? ENOMEM : 0;
}

int spans_finish(struct spans *spans, struct spans_out *out)
{
	for (size_t i = 0; i < spans->cpu_count; i++) {
		cut(spans, spans->met[i], spans->now, out);
		give_group(spans, spans->met[i], out);
	}
	out->known_ns = UINT64_MAX;
	return 0;
}

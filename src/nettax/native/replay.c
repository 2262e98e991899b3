// SPDX-License-Identifier: Apache-2.0
/*
 * The ledger's state machine in user space: takes a recording's events one after the other.
 *
 * Each CPU has a slice that is open: who has it, since when, and what hard IRQs and softirqs have
 * taken of it so far. Here is where recording begins, ends and has holes, and the way of an event
 * to the part that it concerns.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replay_state.h"

struct replay *replay_open(bool sliced)
{
	struct replay *replay = calloc(1, sizeof(*replay));

	if (!replay)
		return NULL;
	replay->sliced = sliced;
	if (replay_book_open(&replay->book))
		return replay;
	free(replay);
	return NULL;
}

void replay_close(struct replay *replay)
{
	for (size_t number = 0; number < EVENT_EVERY_CPU; number++)
		free(replay->cpus[number]);
	replay_book_close(&replay->book);
	free(replay);
}

int replay_name(struct replay *replay, int32_t pid, const struct replay_name *names, size_t count)
{
	return replay_names(&replay->book, pid, names, count) ? 0 : ENOMEM;
}

/* Nothing is known of a CPU yet but its number; its clocks go on, as who waits remembers them. */
static void set_out(struct replay_cpu *cpu, uint16_t number, uint64_t time)
{
	uint64_t clocks[REPLAY_KTHREADS];

	memcpy(clocks, cpu->clocks, sizeof(clocks));
	*cpu = (struct replay_cpu){
	    .sums = {.cpu = number, .start_ns = time},
	    .recorded = true,
	    .pid = REPLAY_NOBODY,
	    .place = REPLAY_NO_PLACE,
	    .since = time,
	    .vector = -1,
	    .hard_grace = true,
	    .soft_grace = true,
	    .last_pid = REPLAY_NOBODY,
	    .running = KIND_TASK,
	};
	memcpy(cpu->clocks, clocks, sizeof(clocks));
}

/* Events of this CPU went missing. The time since the last one before is on no account. */
static void lose(struct replay *replay, struct replay_cpu *cpu, uint64_t number)
{
	uint64_t known = cpu->last ? cpu->last : cpu->sums.start_ns;

	cpu->sums.lost += number;
	cpu->depth = 0;
	cpu->vector = -1;
	cpu->hard_grace = cpu->soft_grace = true;
	if (replay->sliced) {
		replay_stop_clock(replay, cpu);
		replay_close_slice(replay, cpu, replay_current(cpu),
				   known > cpu->since ? known : cpu->since, REPLAY_NOT_BILLED);
	}
	cpu->since = replay->now;
	cpu->pid = REPLAY_NOBODY;
	cpu->turned = false;
}

static void lose_everywhere(struct replay *replay, const struct event *event)
{
	for (size_t number = 0; number < EVENT_EVERY_CPU; number++) {
		struct replay_cpu *cpu = replay->cpus[number];

		if (!cpu || !cpu->recorded)
			continue;
		lose(replay, cpu, event->value);
		cpu->last = replay->now;
		cpu->last_pid = event->pid;
	}
	replay->lost_everywhere += event->value;
	replay->everywhere_since = replay->now;
}

/* End the slice with what the upper levels have under way, as a reading of the ledger does. */
static void settle(struct replay *replay, struct replay_cpu *cpu, uint64_t billed)
{
	cpu->sums.end_ns = replay->now;
	cpu->recorded = false;
	if (!replay->sliced)
		return;
	replay_stop_clock(replay, cpu);
	replay_settle_levels(replay, cpu);
	replay_close_slice(replay, cpu, replay_current(cpu), replay->now, billed);
}

/* Account for a CPU from now on, or anew. */
static void begin(struct replay *replay, struct replay_cpu *cpu, const struct event *event)
{
	replay_stop_clock(replay, cpu);
	set_out(cpu, event->cpu, replay->now);
	cpu->last = replay->now;
	cpu->pid = event->pid;
	if (event->pid > 0)
		cpu->place = replay_pid_place(&replay->book, event->pid);
	replay_start_clock(replay, cpu);
}

/* Which of the CPUs that are new in this chunk are told to begin later in it. */
static void look_ahead(struct replay *replay, const struct event *events, size_t count)
{
	memset(replay->begins, UNSEEN, sizeof(replay->begins));
	for (size_t i = 0; i < count; i++) {
		if ((events[i].kind != EVENT_BEGIN && events[i].kind != EVENT_END) ||
		    events[i].cpu == EVENT_EVERY_CPU)
			continue;
		if (replay->begins[events[i].cpu] == UNSEEN)
			replay->begins[events[i].cpu] =
			    events[i].kind == EVENT_BEGIN ? AWAITS_BEGIN : NEEDS_NO_BEGIN;
	}
	replay->looked = true;
}

/* The CPU that this event is the first of; NULL: it is not recorded yet. */
static struct replay_cpu *appear(struct replay *replay, const struct event *event, size_t left)
{
	struct replay_cpu *cpu;

	if (!replay->looked)
		look_ahead(replay, event, left);
	if (event->kind == EVENT_END ||
	    (event->kind != EVENT_BEGIN && replay->begins[event->cpu] == AWAITS_BEGIN))
		return NULL;
	cpu = calloc(1, sizeof(*cpu));
	if (!cpu) {
		replay->book.full = true;
		return NULL;
	}
	/* Recorded since the beginning, with nothing to tell since then, or since the last loss. */
	cpu->running = KIND_TASK;
	set_out(cpu, event->cpu, replay->totals.start_ns);
	if (replay->everywhere_since) {
		cpu->sums.lost = replay->lost_everywhere;
		cpu->since = cpu->last = replay->everywhere_since;
	}
	replay->cpus[event->cpu] = cpu;
	replay->totals.cpus++;
	return cpu;
}

static void take(struct replay *replay, struct replay_cpu *cpu, const struct event *event)
{
	switch (event->kind) {
	case EVENT_HARDIRQ_ENTRY:
	case EVENT_VECTOR_ENTRY:
		replay_hard_entry(replay, cpu);
		break;
	case EVENT_HARDIRQ_EXIT:
	case EVENT_VECTOR_EXIT:
		replay_hard_exit(replay, cpu, event);
		break;
	case EVENT_SOFTIRQ_ENTRY:
		replay_soft_entry(replay, cpu, event);
		break;
	case EVENT_SOFTIRQ_EXIT:
		replay_soft_exit(replay, cpu, event);
		break;
	case EVENT_NAPI_POLL:
		replay_poll(replay, cpu, event);
		break;
	case EVENT_WAKEUP:
		replay_wakeup(replay, event);
		break;
	case EVENT_MIGRATE:
		replay_migrate(replay, event);
		break;
	case EVENT_SWITCH:
		replay_switch(replay, cpu, event);
		break;
	case EVENT_LOST:
		lose(replay, cpu, event->value);
		break;
	}
	if (event->kind != EVENT_SWITCH && event->kind != EVENT_LOST) {
		if (event->pid == cpu->pid) {
			cpu->turned = false;
		} else if (!cpu->turned) {
			cpu->turned = true;
			cpu->turn = replay->now;
		}
	}
	cpu->last = replay->now;
	cpu->last_pid = event->pid;
}

/* Follow one event, with `left` of the chunk from it on. */
static void follow(struct replay *replay, const struct event *event, size_t left)
{
	bool late = event->time_ns < replay->now;
	struct replay_cpu *cpu;

	if (!late)
		replay->now = event->time_ns; /* else the time stands still */
	if (event->kind == EVENT_LOST)
		replay->totals.lost += event->value;
	if (event->cpu == EVENT_EVERY_CPU) {
		if (event->kind == EVENT_LOST)
			lose_everywhere(replay, event);
		return;
	}
	cpu = replay->cpus[event->cpu];
	if (!cpu)
		cpu = appear(replay, event, left);
	if (!cpu)
		return;
	if (event->kind == EVENT_BEGIN)
		begin(replay, cpu, event);
	else if (!cpu->recorded)
		return;
	else if (event->kind == EVENT_END)
		settle(replay, cpu, event->flags & EVENT_BILLED ? event->value : REPLAY_NOT_BILLED);
	else
		take(replay, cpu, event);
	cpu->sums.unmatched += late;
}

int replay_feed(struct replay *replay, const struct event *events, size_t count)
{
	if (count && !replay->started) {
		replay->started = true;
		replay->now = replay->totals.start_ns = events[0].time_ns;
	}
	replay->looked = false;
	replay->totals.events += count;
	for (size_t i = 0; i < count; i++)
		follow(replay, &events[i], count - i);
	return replay->book.full ? ENOMEM : 0;
}

/* Close what is open, at the time of the last event. */
int replay_finish(struct replay *replay)
{
	for (size_t place = 0; place < replay->book.pid_count; place++)
		if (replay->book.pids[place].waits)
			replay_end_wait(replay, &replay->book.pids[place]);
	for (size_t number = 0; number < EVENT_EVERY_CPU; number++)
		if (replay->cpus[number] && replay->cpus[number]->recorded)
			settle(replay, replay->cpus[number], REPLAY_NOT_BILLED);
	replay->totals.end_ns = replay->now;
	return replay->book.full ? ENOMEM : 0;
}

const size_t replay_sizes[] = {
    sizeof(struct event),	   sizeof(struct replay_name),	   sizeof(struct replay_totals),
    sizeof(struct replay_cpu_row), sizeof(struct replay_task_row),
};

void replay_read(const struct replay *replay, struct replay_totals *out)
{
	*out = replay->totals;
	out->tasks = replay->book.task_count;
}

void replay_read_cpus(const struct replay *replay, struct replay_cpu_row *out)
{
	for (size_t number = 0; number < EVENT_EVERY_CPU; number++)
		if (replay->cpus[number])
			*out++ = replay->cpus[number]->sums;
}

void replay_read_tasks(const struct replay *replay, struct replay_task_row *out)
{
	if (replay->book.task_count)
		memcpy(out, replay->book.tasks, replay->book.task_count * sizeof(*out));
}

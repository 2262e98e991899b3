// SPDX-License-Identifier: Apache-2.0
/*
 * How long tasks waited for a CPU, and how long of it a network kernel thread ran there: the growth
 * of that CPU's clock from the wait's beginning to its end.
 */
#include "replay_state.h"

static uint64_t clock_at(const struct replay *replay, const struct replay_cpu *cpu, int kind)
{
	uint64_t runs = cpu->running == kind ? replay->now - cpu->clock_since : 0;

	return cpu->clocks[kind] + runs;
}

void replay_stop_clock(const struct replay *replay, struct replay_cpu *cpu)
{
	if (cpu->running < REPLAY_KTHREADS)
		cpu->clocks[cpu->running] = clock_at(replay, cpu, cpu->running);
	cpu->running = KIND_TASK;
}

void replay_start_clock(struct replay *replay, struct replay_cpu *cpu)
{
	cpu->running = KIND_TASK;
	if (cpu->pid > 0)
		cpu->running =
		    replay_kind_at(replay_pid_at(&replay->book, cpu->place), replay->now);
	cpu->clock_since = replay->now;
}

static const struct replay_cpu *cpu_at(const struct replay *replay, int32_t number)
{
	return number >= 0 && number < EVENT_EVERY_CPU ? replay->cpus[number] : NULL;
}

void replay_begin_wait(const struct replay *replay, struct replay_pid *pid, int32_t number)
{
	const struct replay_cpu *cpu = cpu_at(replay, number);

	pid->waits = true;
	pid->wait_cpu = number;
	pid->wait_since = replay->now;
	for (int kind = 0; kind < REPLAY_KTHREADS; kind++)
		pid->wait_clocks[kind] = cpu ? clock_at(replay, cpu, kind) : 0;
}

void replay_end_wait(struct replay *replay, struct replay_pid *pid)
{
	const struct replay_cpu *cpu = cpu_at(replay, pid->wait_cpu);
	struct replay_task_row *task = replay_task_of(&replay->book, pid);

	pid->waits = false;
	task->wait_ns += replay->now - pid->wait_since;
	for (int kind = 0; cpu && kind < REPLAY_KTHREADS; kind++)
		task->displaced_ns[kind] += clock_at(replay, cpu, kind) - pid->wait_clocks[kind];
	if (task->last_ns <= replay->now) {
		task->last_ns = replay->now;
		task->cpu = pid->wait_cpu;
	}
}

void replay_wakeup(struct replay *replay, const struct event *event)
{
	struct replay_pid *pid;

	if (event->id <= 0 || !replay->sliced)
		return;
	pid = replay_pid_at(&replay->book, replay_pid_place(&replay->book, event->id));
	if (!pid->waits)
		replay_begin_wait(replay, pid, event->a);
}

void replay_migrate(struct replay *replay, const struct event *event)
{
	struct replay_pid *pid;

	if (event->id <= 0 || !replay->sliced)
		return;
	pid = replay_pid_at(&replay->book, replay_pid_place(&replay->book, event->id));
	if (pid->waits) {
		replay_end_wait(replay, pid);
		replay_begin_wait(replay, pid, event->b);
	}
}

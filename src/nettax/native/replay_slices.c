// SPDX-License-Identifier: Apache-2.0
/*
 * Slices: from one switch to the next. Each is charged as it ends, to its CPU and to its task, with
 * what hard IRQs and softirqs took of it.
 */
#include "replay_state.h"

#define KIND_IDLE (KIND_TASK + 1)

static void charge_task(struct replay_task_row *task, int kind, uint64_t length,
			const struct replay_taken *taken)
{
	uint64_t own = length - taken->hard - taken->soft;

	task->oncpu_ns += length;
	task->hard_ns += taken->hard;
	task->interrupts += taken->interrupts;
	if (kind < REPLAY_KTHREADS) { /* softirqs are such a thread's own work */
		task->own_ns += own + taken->soft;
		return;
	}
	task->own_ns += own;
	if (!taken->soft)
		return;
	for (int i = 0; i < EVENT_VECTORS; i++)
		task->soft_ns[i] += taken->vectors[i];
	for (int i = 0; i < REPLAY_TRIGGERS; i++)
		task->trigger_ns[i] += taken->triggers[i];
}

/* Charge the CPU's account; a task's kind, or KIND_IDLE. */
static void charge_cpu(struct replay_cpu_row *sums, int kind, uint64_t length,
		       const struct replay_taken *taken)
{
	uint64_t own = length - taken->hard - taken->soft;

	if (kind == KIND_IDLE) {
		sums->idle_ns += own;
		sums->idle_interrupted_ns += taken->hard + taken->soft;
		return;
	}
	sums->stolen_hardirq_ns += taken->hard;
	if (kind < REPLAY_KTHREADS) {
		sums->kthread_ns[kind] += own + taken->soft;
		return;
	}
	sums->own_ns += own;
	if (!taken->soft)
		return;
	for (int i = 0; i < EVENT_VECTORS; i++)
		sums->stolen_softirq_ns[i] += taken->vectors[i];
}

/* Charge the open slice, or what of it was one task's, up to `end`; the rest begins there. */
static void charge(struct replay *replay, struct replay_cpu *cpu, int32_t pid, uint32_t place,
		   uint64_t end, const struct replay_taken *taken, uint64_t billed)
{
	uint64_t length = end - cpu->since;
	struct replay_pid *who;
	struct replay_task_row *task;
	int kind;

	cpu->since = end;
	if (pid < 0)
		return;
	if (pid == 0) {
		charge_cpu(&cpu->sums, KIND_IDLE, length, taken);
		return;
	}
	who = replay_pid_at(&replay->book, place);
	kind = replay_kind_at(who, end);
	charge_cpu(&cpu->sums, kind, length, taken);
	task = replay_task_of(&replay->book, who);
	charge_task(task, kind, length, taken);
	if (billed != REPLAY_NOT_BILLED)
		task->billed_ns += billed;
	else if (length)
		task->flags |= TASK_UNBILLED;
	if (task->last_ns <= end) {
		task->last_ns = end;
		task->cpu = cpu->sums.cpu;
	}
}

static uint32_t place_of(struct replay *replay, const struct replay_cpu *cpu, int32_t pid)
{
	if (pid <= 0)
		return REPLAY_NO_PLACE;
	return pid == cpu->pid ? cpu->place : replay_pid_place(&replay->book, pid);
}

static void forget_taken(struct replay_cpu *cpu)
{
	if (cpu->taken.soft)
		cpu->taken = (struct replay_taken){0};
	else
		cpu->taken.hard = cpu->taken.interrupts = 0;
}

/* Who has the CPU, as far as it is known: an event tells, where no switch did. */
int32_t replay_current(const struct replay_cpu *cpu)
{
	return cpu->pid < 0 ? cpu->last_pid : cpu->pid;
}

/* Close the open slice. */
void replay_close_slice(struct replay *replay, struct replay_cpu *cpu, int32_t pid, uint64_t end,
			uint64_t billed)
{
	charge(replay, cpu, pid, place_of(replay, cpu, pid), end, &cpu->taken, billed);
	forget_taken(cpu);
}

/*
 * One task came, another leaves: the switch between them went untraced. What the scheduler billed
 * the one that leaves tells when, or else the events in between do. Interrupts are the second's.
 */
static void divide(struct replay *replay, struct replay_cpu *cpu, uint64_t billed)
{
	static const struct replay_taken nothing;
	uint64_t length = replay->now - cpu->since, turn = replay->now;
	bool known = billed != REPLAY_NOT_BILLED;

	cpu->sums.unmatched++;
	cpu->sums.inferred_ns += length;
	if (known)
		turn = billed < length ? replay->now - billed : cpu->since;
	else if (cpu->turned)
		turn = cpu->turn;
	charge(replay, cpu, cpu->pid, cpu->place, turn, &nothing,
	       known ? turn - cpu->since : REPLAY_NOT_BILLED);
}

/* What it means to the task that leaves, beside its slice. */
static void leave(struct replay *replay, struct replay_cpu *cpu, const struct event *event,
		  struct replay_pid *pid)
{
	struct replay_task_row *task = replay_task_of(&replay->book, pid);

	task->switches++;
	pid->waits = false;
	if (event->flags & EVENT_DEAD) {
		task->flags |= TASK_EXITED;
		pid->task = REPLAY_NO_PLACE;
		pid->life++;
	} else if (event->flags & EVENT_PREEMPTED || event->a == 0) {
		replay_begin_wait(replay, pid, cpu->sums.cpu);
	}
}

void replay_switch(struct replay *replay, struct replay_cpu *cpu, const struct event *event)
{
	uint64_t billed = event->flags & EVENT_BILLED ? event->value : REPLAY_NOT_BILLED;
	int32_t left = event->pid < 0 ? replay_current(cpu) : event->pid;
	uint32_t place;
	struct replay_pid *came;

	replay_heal(cpu);
	cpu->sums.switches++;
	replay->totals.switches++;
	if (!replay->sliced)
		return;
	replay_stop_clock(replay, cpu);
	place = place_of(replay, cpu, left);
	if (cpu->pid >= 0 && cpu->pid != left)
		divide(replay, cpu, billed);
	charge(replay, cpu, left, place, replay->now, &cpu->taken, billed);
	forget_taken(cpu);
	if (left > 0)
		leave(replay, cpu, event, replay_pid_at(&replay->book, place));
	cpu->place = event->id > 0 ? replay_pid_place(&replay->book, event->id) : REPLAY_NO_PLACE;
	cpu->pid = event->id;
	cpu->turned = false;
	came = replay_pid_at(&replay->book, cpu->place);
	if (came->waits)
		replay_end_wait(replay, came);
	replay_start_clock(replay, cpu);
}

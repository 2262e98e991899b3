/* SPDX-License-Identifier: Apache-2.0 */
/* What a replay keeps, and what its parts ask of each other. */
#ifndef NETTAX_REPLAY_STATE_H
#define NETTAX_REPLAY_STATE_H

#include "replay.h"

#define REPLAY_NOT_BILLED UINT64_MAX
#define REPLAY_NOBODY	  -1

/* A pid: which task has it now, and what that one waits for. */
struct replay_pid {
	int32_t pid;
	uint32_t life;
	uint32_t task; /* its place among the tasks, or NO_PLACE while it has no account */
	int32_t wait_cpu;
	bool waits;
	uint64_t wait_since;
	uint64_t wait_clocks[REPLAY_KTHREADS]; /* those of that CPU, then */
	struct replay_name *names;	       /* none: an ordinary task */
	size_t name_count;
};

#define REPLAY_NO_PLACE UINT32_MAX

/* All pids and tasks that were ever seen. */
struct replay_book {
	struct replay_pid *pids;
	struct replay_task_row *tasks;
	uint32_t *slots; /* a hash of the pids: places in `pids`, or NO_PLACE */
	size_t pid_count, pid_room, task_count, task_room, slot_count;
	bool full; /* there was no memory: what is told since goes nowhere */
	struct replay_pid no_pid;
	struct replay_task_row no_task;
};

/* What was taken from a slice. */
struct replay_taken {
	uint64_t hard;
	uint64_t soft; /* the sum of what follows */
	uint64_t vectors[EVENT_VECTORS];
	uint64_t triggers[REPLAY_TRIGGERS];
	uint64_t interrupts;
};

/* A CPU, and what is under way there. */
struct replay_cpu {
	struct replay_cpu_row sums;
	bool recorded; /* it has not ended */
	/* The open slice: the task that came, its place in the book, and since when. */
	int32_t pid;
	uint32_t place;
	uint64_t since;
	struct replay_taken taken;
	bool turned;   /* events tell of another task than came, */
	uint64_t turn; /* since then */
	/* The levels above: a hard IRQ is under way if depth > 0, a softirq if vector >= 0. */
	uint64_t depth;
	uint64_t hard_since;
	int32_t vector;
	int trigger;
	uint64_t soft_since;
	uint64_t soft_hard; /* hard_ns then */
	uint64_t poll_since;
	uint64_t poll_hard;
	/* At the beginning, and after a loss, one exit may lack its entry. */
	bool hard_grace;
	bool soft_grace;
	/* The last event. */
	uint64_t last;
	int32_t last_pid;
	/* How long each kind of network kernel thread has run by traced switches; and which does.
	 */
	uint64_t clocks[REPLAY_KTHREADS];
	uint64_t clock_since;
	int running;
};

/* Of a CPU that no event has told of yet: whether a BEGIN of it comes later in the chunk. */
enum { UNSEEN, AWAITS_BEGIN, NEEDS_NO_BEGIN };

struct replay {
	bool sliced;
	bool started;
	bool looked; /* for the BEGINs of CPUs in this chunk */
	uint64_t now;
	uint64_t lost_everywhere;
	uint64_t everywhere_since; /* when that was last; 0: never */
	struct replay_totals totals;
	struct replay_book book;
	struct replay_cpu *cpus[EVENT_EVERY_CPU];
	uint8_t begins[EVENT_EVERY_CPU];
};

/* replay_book.c. Pointers hold until the next pid or task is asked for. */
bool replay_book_open(struct replay_book *book);
void replay_book_close(struct replay_book *book);
uint32_t replay_pid_place(struct replay_book *book, int32_t pid);
struct replay_pid *replay_pid_at(struct replay_book *book, uint32_t place);
struct replay_task_row *replay_task_of(struct replay_book *book, struct replay_pid *pid);
int replay_kind_at(const struct replay_pid *pid, uint64_t time);
bool replay_names(struct replay_book *book, int32_t pid, const struct replay_name *names,
		  size_t count);

/* replay_levels.c: hard IRQs, softirqs, polls. */
void replay_hard_entry(const struct replay *replay, struct replay_cpu *cpu);
void replay_hard_exit(struct replay *replay, struct replay_cpu *cpu, const struct event *event);
void replay_soft_entry(struct replay *replay, struct replay_cpu *cpu, const struct event *event);
void replay_soft_exit(struct replay *replay, struct replay_cpu *cpu, const struct event *event);
void replay_poll(struct replay *replay, struct replay_cpu *cpu, const struct event *event);
void replay_heal(struct replay_cpu *cpu);
void replay_settle_levels(struct replay *replay, struct replay_cpu *cpu);

/* replay_slices.c: what tasks had of a CPU. */
void replay_switch(struct replay *replay, struct replay_cpu *cpu, const struct event *event);
void replay_close_slice(struct replay *replay, struct replay_cpu *cpu, int32_t pid, uint64_t end,
			uint64_t billed);
int32_t replay_current(const struct replay_cpu *cpu);

/* replay_waits.c: what they waited for. */
void replay_start_clock(struct replay *replay, struct replay_cpu *cpu);
void replay_stop_clock(const struct replay *replay, struct replay_cpu *cpu);
void replay_begin_wait(const struct replay *replay, struct replay_pid *pid, int32_t number);
void replay_end_wait(struct replay *replay, struct replay_pid *pid);
void replay_wakeup(struct replay *replay, const struct event *event);
void replay_migrate(struct replay *replay, const struct event *event);

#endif

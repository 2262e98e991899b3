// SPDX-License-Identifier: Apache-2.0
/*
 * Pids and tasks of a replay: who has a pid now, of what kind it is, and all tasks' sums.
 *
 * When memory runs out, one pid and one task that are nobody's stand in for what is missing, and
 * `full` says so: callers need not ask at each step.
 */
#include <stdlib.h>
#include <string.h>

#include "replay_state.h"

#define FIRST_SLOTS 1024 /* a power of two, as all later sizes */
#define FIRST_ROOM  256

static size_t slot_of(const struct replay_book *book, int32_t pid)
{
	/* Fibonacci hashing: Knuth, vol. 3, 6.4. */
	return (uint32_t)pid * UINT64_C(11400714819323198485) >> 32 & (book->slot_count - 1);
}

static bool make_slots(struct replay_book *book, size_t count)
{
	uint32_t *slots = malloc(count * sizeof(*slots));

	if (!slots)
		return false;
	memset(slots, 0xff, count * sizeof(*slots)); /* REPLAY_NO_PLACE, all of them */
	free(book->slots);
	book->slots = slots;
	book->slot_count = count;
	for (size_t place = 0; place < book->pid_count; place++) {
		size_t slot = slot_of(book, book->pids[place].pid);

		while (slots[slot] != REPLAY_NO_PLACE)
			slot = (slot + 1) & (count - 1);
		slots[slot] = place;
	}
	return true;
}

bool replay_book_open(struct replay_book *book)
{
	return make_slots(book, FIRST_SLOTS);
}

void replay_book_close(struct replay_book *book)
{
	for (size_t place = 0; place < book->pid_count; place++)
		free(book->pids[place].names);
	free(book->pids);
	free(book->tasks);
	free(book->slots);
}

/* Make room for one more item of an array. */
static void *grown(void *items, size_t count, size_t *room, size_t size)
{
	size_t wanted = *room ? *room * 2 : FIRST_ROOM;
	void *more;

	if (count < *room)
		return items;
	if (count >= REPLAY_NO_PLACE - 1)
		return NULL;
	more = realloc(items, wanted * size);
	if (more)
		*room = wanted;
	return more;
}

static uint32_t new_pid(struct replay_book *book, int32_t pid)
{
	struct replay_pid *pids =
	    grown(book->pids, book->pid_count, &book->pid_room, sizeof(*pids));
	size_t slot;

	if (pids)
		book->pids = pids;
	/* At most half of the slots are taken, so a search ends soon. */
	if (!pids ||
	    (book->pid_count * 2 >= book->slot_count && !make_slots(book, book->slot_count * 2))) {
		book->full = true;
		return REPLAY_NO_PLACE;
	}
	for (slot = slot_of(book, pid); book->slots[slot] != REPLAY_NO_PLACE;)
		slot = (slot + 1) & (book->slot_count - 1);
	book->slots[slot] = book->pid_count;
	pids[book->pid_count] = (struct replay_pid){.pid = pid, .task = REPLAY_NO_PLACE};
	return book->pid_count++;
}

/* Where a pid is kept, from now on if it was not; NO_PLACE: there is no room. */
uint32_t replay_pid_place(struct replay_book *book, int32_t pid)
{
	size_t slot = slot_of(book, pid);

	while (book->slots[slot] != REPLAY_NO_PLACE) {
		if (book->pids[book->slots[slot]].pid == pid)
			return book->slots[slot];
		slot = (slot + 1) & (book->slot_count - 1);
	}
	return new_pid(book, pid);
}

struct replay_pid *replay_pid_at(struct replay_book *book, uint32_t place)
{
	if (place < book->pid_count)
		return &book->pids[place];
	book->no_pid = (struct replay_pid){.task = REPLAY_NO_PLACE};
	return &book->no_pid;
}

/* The account of the task that has a pid now, opened if there is none. */
struct replay_task_row *replay_task_of(struct replay_book *book, struct replay_pid *pid)
{
	struct replay_task_row *tasks;

	if (pid->task < book->task_count)
		return &book->tasks[pid->task];
	if (pid == &book->no_pid)
		return &book->no_task;
	tasks = grown(book->tasks, book->task_count, &book->task_room, sizeof(*tasks));
	if (!tasks) {
		book->full = true;
		return &book->no_task;
	}
	book->tasks = tasks;
	tasks[book->task_count] = (struct replay_task_row){.pid = pid->pid, .life = pid->life};
	pid->task = book->task_count++;
	return &tasks[pid->task];
}

/* Of what kind a pid's task was; before the first that is known, as that first one. */
int replay_kind_at(const struct replay_pid *pid, uint64_t time)
{
	size_t low = 0, high = pid->name_count;

	if (!high)
		return KIND_TASK;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (pid->names[middle].since_ns <= time)
			low = middle;
		else
			high = middle;
	}
	return pid->names[low].kind;
}

/* Say of what kinds a pid's tasks were, in order of time; kinds that are none are KIND_TASK. */
bool replay_names(struct replay_book *book, int32_t pid, const struct replay_name *names,
		  size_t count)
{
	struct replay_pid *of = replay_pid_at(book, replay_pid_place(book, pid));
	struct replay_name *copy = calloc(count ? count : 1, sizeof(*copy));

	if (!copy || of == &book->no_pid) {
		free(copy);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		copy[i] = names[i];
		if (copy[i].kind > KIND_TASK)
			copy[i].kind = KIND_TASK;
	}
	free(of->names);
	of->names = copy;
	of->name_count = count;
	return true;
}

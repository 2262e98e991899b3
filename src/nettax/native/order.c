// SPDX-License-Identifier: Apache-2.0
#include "order.h"

#include <stdbool.h>
#include <string.h>

#define BACK	    32 /* rows over which a late one is carried */
#define RING_HEADER 8

void event_unwrap(const uint8_t *records, size_t count, struct event *rows)
{
	for (; count; count--, rows++, records += RING_HEADER + sizeof *rows)
		memcpy(rows, records + RING_HEADER, sizeof *rows);
}

/* Carry the row behind a run to its place among the run's last ones; false: that is not there. */
static bool carry_back(struct event *rows, const struct order_run *run)
{
	struct event row = rows[run->end];
	size_t least = run->end - run->next > BACK ? run->end - BACK : run->next;
	size_t at = run->end;

	while (at > least && rows[at - 1].time_ns > row.time_ns)
		at--;
	if (at == run->end || (at == least && least > run->next))
		return false;
	memmove(&rows[at + 1], &rows[at], (run->end - at) * sizeof *rows);
	rows[at] = row;
	return true;
}

/* Take in rows that were written behind those that wait. */
void order_add(struct order *order, size_t added)
{
	struct event *rows = order->rows;
	struct order_run *run = order->run_count ? &order->runs[order->run_count - 1] : NULL;
	size_t end = order->count;

	order->heaped = false;
	for (size_t i = order->count; i < order->count + added; i++) {
		uint64_t time_ns = rows[i].time_ns;

		if (time_ns >= EVENT_NEVER) {
			order->absurd++;
			continue;
		}
		if (end != i)
			rows[end] = rows[i];
		if (run && time_ns < rows[end - 1].time_ns && !carry_back(rows, run))
			run = NULL;
		if (!run) {
			run = &order->runs[order->run_count++];
			*run = (struct order_run){.next = end, .end = end};
		}
		run->end = ++end;
	}
	order->count = end;
}

static bool before(const struct order *order, uint32_t one, uint32_t other)
{
	uint64_t mine = order->rows[order->runs[one].next].time_ns;
	uint64_t its = order->rows[order->runs[other].next].time_ns;

	return mine < its || (mine == its && one < other);
}

static void sift_down(struct order *order, size_t at)
{
	uint32_t *heap = order->heap;
	uint32_t run = heap[at];

	for (size_t child; (child = 2 * at + 1) < order->heap_count; at = child) {
		if (child + 1 < order->heap_count && before(order, heap[child + 1], heap[child]))
			child++;
		if (!before(order, heap[child], run))
			break;
		heap[at] = heap[child];
	}
	heap[at] = run;
}

static void build_heap(struct order *order)
{
	order->heap_count = 0;
	for (uint32_t i = 0; i < order->run_count; i++)
		if (order->runs[i].next < order->runs[i].end)
			order->heap[order->heap_count++] = i;
	for (size_t at = order->heap_count / 2; at-- > 0;)
		sift_down(order, at);
	order->heaped = true;
}

/* Up to which time the first run's rows come before those of all others. */
static uint64_t rival(const struct order *order, uint64_t until_ns)
{
	const uint32_t *heap = order->heap;

	for (size_t child = 1; child < 3 && child < order->heap_count; child++) {
		uint64_t time_ns = order->rows[order->runs[heap[child]].next].time_ns;

		/* a run that came later has its equal times later */
		if (heap[child] < heap[0])
			time_ns--;
		if (time_ns < until_ns)
			until_ns = time_ns;
	}
	return until_ns;
}

/* The next rows in order, up to a time; as many as there is room for. Returns how many. */
size_t order_take(struct order *order, uint64_t until_ns, struct event *out, size_t room)
{
	size_t taken = 0;

	if (!order->heaped)
		build_heap(order);
	while (order->heap_count && taken < room) {
		struct order_run *run = &order->runs[order->heap[0]];
		uint64_t limit = rival(order, until_ns);
		const struct event *row = &order->rows[run->next];
		const struct event *end = &order->rows[run->end];
		size_t before_it = taken;

		if (row->time_ns > until_ns)
			break;
		for (; row < end && row->time_ns < order->passed_ns && row->time_ns <= limit; row++)
			order->late++;
		for (; row < end && row->time_ns <= limit && taken < room; row++)
			out[taken++] = *row;
		if (taken > before_it)
			order->passed_ns = out[taken - 1].time_ns;
		run->next = row - order->rows;
		if (row == end)
			order->heap[0] = order->heap[--order->heap_count];
		if (order->heap_count)
			sift_down(order, 0);
	}
	return taken;
}

/* Forget the rows that were taken. */
void order_settle(struct order *order)
{
	size_t count = 0, runs = 0;

	for (size_t i = 0; i < order->run_count; i++) {
		struct order_run run = order->runs[i];
		size_t length = run.end - run.next;

		if (!length)
			continue;
		memmove(&order->rows[count], &order->rows[run.next], length * sizeof *order->rows);
		order->runs[runs++] = (struct order_run){.next = count, .end = count + length};
		count += length;
	}
	order->count = count;
	order->run_count = runs;
	order->heaped = false;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Pages of the kernel's trace ring buffer, as trace.dat has them: one CPU's, one after the other.
 *
 * Sources: kernel/trace/ring_buffer.c, include/linux/ring_buffer.h.
 */
#include "decode_ring.h"

enum { DATA_TYPE_MAX = 28, PADDING = 29, TIME_EXTEND = 30, TIME_STAMP = 31 };

#define DELTA_BITS    27
#define COMMIT	      ((1U << 27) - 1)
#define MISSED	      (1U << 31)
#define MISSED_STORED (1U << 30)
#define ABSOLUTE      ((UINT64_C(1) << 59) - 1)
#define COMMON	      8 /* bytes of an event's type, flags and pid */

/* The head of an entry: what it is, how many bytes of data it has and where, and its time. */
struct entry {
	uint32_t kind;
	int64_t size;
	uint64_t delta;
	uint64_t start;
};

static struct entry entry_at(const struct decode_ring *ring, const uint8_t *page, uint64_t at,
			     bool swapped)
{
	uint32_t head = decode_u32(page + at, swapped), extra = 0;
	struct entry entry;
	bool timed;

	if (at + 8 <= ring->page_size)
		extra = decode_u32(page + at + 4, swapped);
	if (ring->big) {
		entry.kind = head >> DELTA_BITS;
		entry.delta = head & ((1U << DELTA_BITS) - 1);
	} else {
		entry.kind = head & 31;
		entry.delta = head >> 5;
	}
	timed = entry.kind == TIME_EXTEND || entry.kind == TIME_STAMP;
	if (timed)
		entry.delta += (uint64_t)extra << DELTA_BITS;
	/* Padding within a page, an event discarded, says how long it is. */
	if (timed)
		entry.size = 0;
	else if (entry.kind == 0)
		entry.size = (int64_t)extra - 4;
	else
		entry.size = entry.kind == PADDING ? extra : 4 * (int64_t)entry.kind;
	entry.size = (entry.size + 3) & ~INT64_C(3);
	entry.start = at + (timed || entry.kind == 0 ? 8 : 4);
	return entry;
}

static void put(const struct event *row, struct decode_progress *progress)
{
	progress->rows++;
	if (row->time_ns > progress->newest && row->time_ns < EVENT_NEVER)
		progress->newest = row->time_ns;
}

/* Events were lost before what comes now. */
static void put_missed(struct decode_ring *ring, uint64_t time_ns, struct event *rows,
		       struct decode_progress *progress)
{
	rows[progress->rows] = (struct event){.time_ns = time_ns,
					      .pid = -1,
					      .cpu = ring->cpu,
					      .kind = EVENT_LOST,
					      .value = ring->missed};
	put(&rows[progress->rows], progress);
	ring->misses = false;
}

/* Begin with a page. */
static void turn(struct decode_ring *ring, const uint8_t *page, bool swapped)
{
	uint32_t wide = ring->long_size == 8 && ring->big ? 4 : 0;
	uint32_t commit = decode_u32(page + 8 + wide, swapped);
	uint64_t head = 8 + ring->long_size, length = commit & COMMIT;

	if (length > ring->page_size - head)
		length = ring->page_size - head;
	ring->now = decode_u64(page, swapped);
	ring->at = head;
	ring->end = head + length;
	if (!(commit & MISSED))
		return;
	ring->misses = true;
	ring->missed = 0;
	if (commit & MISSED_STORED && ring->end + ring->long_size <= ring->page_size)
		ring->missed = ring->long_size == 8 ? decode_u64(page + ring->end, swapped)
						    : decode_u32(page + ring->end, swapped);
	if (ring->missed > INT64_MAX)
		ring->missed = 0;
	ring->told += ring->missed;
}

/* An event: a row, if it is one of the tracepoints that are known. */
static void event(struct decode_ring *ring, const uint8_t *data, uint32_t size, struct event *rows,
		  struct decode_progress *progress, bool swapped)
{
	uint64_t time_ns = ring->now + ring->offset_ns;
	struct event *row;
	uint32_t place;

	if (ring->misses)
		put_missed(ring, time_ns, rows, progress);
	ring->last_ns = time_ns;
	if (size < COMMON)
		return;
	place = decode_find(&ring->plan, decode_u16(data, swapped));
	if (place >= ring->tracepoint_count)
		return;
	row = &rows[progress->rows];
	*row = (struct event){
	    .time_ns = time_ns, .pid = (int32_t)decode_u32(data + 4, swapped), .cpu = ring->cpu};
	if (decode_raw(&ring->plan, &ring->plan.tracepoints[place], data, size, row, progress) &&
	    row->kind)
		put(row, progress);
}

/* What is at ring->at; false: the page ends there. */
static bool step(struct decode_ring *ring, const uint8_t *page, struct event *rows,
		 struct decode_progress *progress, bool swapped)
{
	struct entry entry;

	if (ring->at + 4 > ring->end)
		return false;
	entry = entry_at(ring, page, ring->at, swapped);
	if (entry.kind == TIME_STAMP)
		ring->now = (ring->now & ~ABSOLUTE) | (entry.delta & ABSOLUTE);
	else
		ring->now += entry.delta;
	if (entry.kind == PADDING && !entry.delta)
		return false;
	if (entry.size < 0 || entry.start + entry.size > ring->end) {
		if (!ring->broken++)
			ring->at_broken = ring->page;
		return false;
	}
	ring->at = entry.start + entry.size;
	if (entry.kind <= DATA_TYPE_MAX)
		event(ring, page + entry.start, entry.size, rows, progress, swapped);
	return true;
}

/* Events of whole pages, from ring->page on, become rows, of which there is room for one in every 8
 * bytes. Returns why it stopped: behind the last page (DECODE_END), or behind an event with a new
 * name (DECODE_SIGHT). */
int decode_pages(struct decode_ring *ring, const uint8_t *data, size_t size, struct event *rows,
		 struct decode_progress *progress)
{
	bool swapped = ring->plan.swapped;

	progress->sights = 0;
	for (; size - ring->page >= ring->page_size; ring->page += ring->page_size, ring->at = 0) {
		const uint8_t *page = data + ring->page;

		if (!ring->at)
			turn(ring, page, swapped);
		while (step(ring, page, rows, progress, swapped))
			if (progress->sights)
				return DECODE_SIGHT;
	}
	if (ring->misses)
		put_missed(ring, ring->last_ns, rows, progress);
	return DECODE_END;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Records of perf.data: following their chain, and turning samples into events.
 *
 * Sources: include/uapi/linux/perf_event.h, and tools/perf/util/event.h for what perf adds.
 */
#include "decode_perf.h"

#define LAST_TYPE 96 /* of all record types, with room for those to come */
#define SAMPLE	  9
#define HEAD	  8 /* type (32 bits), flags (16), size (16) */
#define UNIT	  8 /* all sizes are multiples of it */
#define LIKELY	  3 /* records behind it that make a place look like a record's */

static bool bit(const uint64_t *set, uint32_t type)
{
	return type < 128 && set[type / 64] >> type % 64 & 1;
}

#define ONE(type) (UINT64_C(1) << (type) % 64)
/* HEADER_ATTR, TRACING_DATA, AUXTRACE, FEATURE, COMPRESSED, COMPRESSED2: of odd sizes, or followed
 * by more than their size says. */
static const uint64_t special[2] = {0, ONE(64) | ONE(66) | ONE(71) | ONE(80) | ONE(81) | ONE(83)};
/* LOST, COMM, FORK, LOST_SAMPLES, FINISHED_ROUND: for Python. */
static const uint64_t others[2] = {ONE(2) | ONE(3) | ONE(7) | ONE(13), ONE(68)};

/* Follow the chain of records from the buffer's beginning, until one that goes beyond the end, that
 * is of no possible size or, if asked for, that is special. `starts` has room for one in every
 * unit.
 */
void walk_records(const uint8_t *data, size_t size, bool swapped, bool to_special, uint32_t *starts,
		  struct walk *walk)
{
	size_t at = 0;

	*walk = (struct walk){.why = WALK_ON};
	while (size - at >= HEAD) {
		uint32_t length = decode_u16(data + at + 6, swapped);

		if (to_special && bit(special, decode_u32(data + at, swapped))) {
			walk->why = WALK_SPECIAL;
			break;
		}
		if (length < HEAD || length % UNIT) {
			walk->why = WALK_BROKEN;
			break;
		}
		if (length > size - at)
			break;
		starts[walk->count++] = at;
		at += length;
	}
	walk->stop = at;
}

/* Whether there is a sample's head of no strange flags or size, and records behind it. */
static bool likely(const uint8_t *data, size_t size, bool swapped, size_t at)
{
	uint32_t length = decode_u16(data + at + 6, swapped);

	if (decode_u32(data + at, swapped) != SAMPLE || decode_u16(data + at + 4, swapped) > 7 ||
	    length < 2 * HEAD || length >= 2048 || length % UNIT)
		return false;
	for (int i = 0; i < LIKELY; i++) {
		uint32_t type;

		at += length;
		if (at >= size || size - at < HEAD)
			return false;
		type = decode_u32(data + at, swapped);
		length = decode_u16(data + at + 6, swapped);
		if (type == 0 || type >= LAST_TYPE || length < HEAD || length % UNIT)
			return false;
	}
	return true;
}

/* The first place from `start` on that looks like a record; the end if there is none. */
size_t walk_resync(const uint8_t *data, size_t size, bool swapped, size_t start)
{
	for (size_t at = start; at < size && size - at >= HEAD; at += UNIT)
		if (likely(data, size, swapped, at))
			return at;
	return size;
}

/* Where the raw data's size is in a sample; 0: there is none, or beyond its end. */
static uint32_t raw_at(const struct decode_attr *attr, const uint8_t *record, uint32_t length,
		       bool swapped)
{
	uint64_t at = 0;

	if (attr->raw < 0)
		return 0;
	if (attr->read >= 0) {
		uint64_t counters = decode_u64(record + attr->read, swapped);

		if (counters > length)
			return 0;
		at = attr->read + attr->read_head + counters * attr->read_entry;
	}
	if (attr->callchain >= 0) {
		uint64_t depth;

		at += attr->callchain;
		if (at + 8 > length)
			return 0;
		depth = decode_u64(record + at, swapped);
		if (depth > length)
			return 0;
		at += 8 + 8 * depth;
	}
	at += attr->raw;
	return at + 4 <= length ? at : 0;
}

/* Whose a sample is: one of `attrs`, or NULL. */
static const struct decode_attr *owner(const struct decode_perf *perf, const uint8_t *record,
				       uint32_t length, bool swapped)
{
	const struct decode_attr *first = perf->attrs;
	uint32_t place = 0;

	if (perf->by == DECODE_BY_ID) {
		if (perf->id_at + 8 > length)
			return NULL;
		place = decode_find(&perf->plan, decode_u64(record + perf->id_at, swapped));
	} else if (perf->by == DECODE_BY_TYPE) {
		uint32_t at =
		    (int32_t)length < first->least ? 0 : raw_at(first, record, length, swapped);

		if (!at || at + 6 > length)
			return NULL;
		place = decode_find(&perf->plan, decode_u16(record + at + 4, swapped));
	}
	return place < perf->attr_count ? &perf->attrs[place] : NULL;
}

enum outcome { ROW, NO_ROW, UNKNOWN };

static inline __attribute__((always_inline)) enum outcome
sample(struct decode_perf *perf, const uint8_t *record, uint32_t length, struct event *row,
       struct decode_progress *progress, bool swapped)
{
	const struct decode_attr *attr = owner(perf, record, length, swapped);
	const struct decode_tracepoint *form;
	uint32_t at, size;

	if (!attr)
		return UNKNOWN;
	if (attr->tracepoint == DECODE_NOWHERE || attr->raw < 0)
		return NO_ROW;
	form = &perf->plan.tracepoints[attr->tracepoint];
	if ((int32_t)length < attr->least)
		return UNKNOWN;
	at = raw_at(attr, record, length, swapped);
	if (!at)
		return UNKNOWN;
	size = decode_u32(record + at, swapped);
	if (size > length - at - 4)
		return UNKNOWN;
	*row = (struct event){
	    .time_ns = attr->time >= 0 ? decode_u64(record + attr->time, swapped) : 0,
	    .pid = attr->tid >= 0 ? (int32_t)decode_u32(record + attr->tid + 4, swapped) : -1,
	    .cpu = attr->cpu >= 0 ? decode_u32(record + attr->cpu, swapped) : 0,
	};
	if (!decode_raw(&perf->plan, form, record + at + 4, size, row, progress))
		return UNKNOWN;
	return form->kind ? ROW : NO_ROW;
}

static inline __attribute__((always_inline)) int
samples(struct decode_perf *perf, const uint8_t *data, const uint32_t *starts, uint32_t count,
	struct event *rows, struct decode_progress *progress, bool swapped)
{
	struct decode_progress now = {
	    .next = progress->next, .rows = progress->rows, .newest = progress->newest};
	int why = DECODE_END;

	progress->sights = 0;
	while (now.next < count && why == DECODE_END) {
		uint32_t start = starts[now.next++];
		const uint8_t *record = data + start;
		uint32_t type = decode_u32(record, swapped);
		struct event *row = &rows[now.rows];

		if (type != SAMPLE) {
			if (bit(others, type))
				why = DECODE_OTHER;
			continue;
		}
		switch (
		    sample(perf, record, decode_u16(record + 6, swapped), row, progress, swapped)) {
		case ROW:
			now.rows++;
			if (row->time_ns > now.newest && row->time_ns < EVENT_NEVER)
				now.newest = row->time_ns;
			break;
		case NO_ROW:
			break;
		case UNKNOWN:
			if (!progress->unknown++)
				progress->at_unknown = start;
		}
		if (progress->sights)
			why = DECODE_SIGHT;
	}
	progress->next = now.next;
	progress->rows = now.rows;
	progress->newest = now.newest;
	return why;
}

/* Samples among the records from `progress` on become rows, of which there is room for one a
 * record. Returns why it stopped: behind the last; or behind a record that is another, or of which
 * a name is new (DECODE_OTHER, DECODE_SIGHT). */
int decode_samples(struct decode_perf *perf, const uint8_t *data, const uint32_t *starts,
		   uint32_t count, struct event *rows, struct decode_progress *progress)
{
	if (perf->plan.swapped)
		return samples(perf, data, starts, count, rows, progress, true);
	return samples(perf, data, starts, count, rows, progress, false);
}

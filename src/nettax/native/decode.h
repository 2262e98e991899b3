/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the raw records of tracepoints to events.
 *
 * Python reads what is rare and intricate (headers, formats) and writes it down as the plain
 * numbers below; C goes through the records. What needs Python again, a name that was not met
 * before or a record that is no sample, stops the run: Python sees to it and calls again. Any bytes
 * may come as records: nothing here reads beyond the buffer that it is given.
 *
 * All memory is Python's; nettax/events/native.py has these layouts too.
 */
#ifndef NETTAX_DECODE_H
#define NETTAX_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "event.h"

#define DECODE_FIELDS	 6
#define DECODE_LONGEST	 64 /* bytes of a name; the rest does not count */
#define DECODE_SEEN_WAYS 4
#define DECODE_SEEN_SETS 4096
#define DECODE_NOWHERE	 UINT32_MAX

/* A number in a raw record, and where it goes in the event; bytes. */
struct decode_field {
	uint16_t from;
	uint8_t size; /* 1, 2, 4 or 8 */
	uint8_t is_signed;
	uint32_t to;
};

enum { DECODE_DEVICE = 1, DECODE_IRQ, DECODE_TASK, DECODE_RENAME };

/* A name in a raw record. */
struct decode_text {
	uint16_t from;
	uint16_t most;	/* bytes of it that count */
	uint32_t base;	/* added to where the record says that it is */
	uint32_t whose; /* DECODE_DEVICE … */
	uint32_t to;	/* where in the event the number is to which it belongs */
	uint8_t dynamic;
	uint8_t pad[3];
};

struct decode_tracepoint {
	uint32_t least; /* bytes of a whole record */
	uint8_t kind;	/* 0: the model has no place for it */
	uint8_t fields;
	uint8_t texts;
	uint8_t pad;
	int32_t a; /* where no field tells these */
	int32_t c;
	struct decode_field field[DECODE_FIELDS];
	struct decode_text text[2];
};

/* By a number (an id, a type): the place of what it stands for, or DECODE_NOWHERE. A hash. */
struct decode_slot {
	uint64_t number;
	uint32_t place;
	uint32_t pad;
};

/* A name that was met: what it was given as, by a hash of it. */
struct decode_seen {
	uint64_t hash; /* 0: nothing here */
	uint64_t number;
};

struct decode_plan {
	const struct decode_tracepoint *tracepoints;
	struct decode_slot *slots; /* as many as a power of two, of which half are free */
	uint64_t slot_count;
	struct decode_seen *seen; /* DECODE_SEEN_SETS × DECODE_SEEN_WAYS */
	uint32_t swapped;	  /* the records are of the other byte order */
	uint32_t names_told;	  /* who a pid is, is told elsewhere too: its first name will do */
};

/* A name that needs Python's attention: that of a number; of a device, that of the last row. */
struct decode_sight {
	uint64_t time_ns;
	uint32_t whose;
	int32_t number;
	uint32_t length;
	uint32_t pad;
	char text[DECODE_LONGEST];
};

enum { DECODE_END, DECODE_SIGHT, DECODE_OTHER };

/* How far a run has come. */
struct decode_progress {
	uint64_t newest;     /* time of all rows, ns */
	uint32_t next;	     /* record to go on with, */
	uint32_t rows;	     /* and row */
	uint32_t unknown;    /* records that are of nothing known, or cut short */
	uint32_t at_unknown; /* where the first of these is, bytes */
	uint32_t sights;
	uint32_t pad;
	struct decode_sight sight[2];
};

static inline uint16_t decode_u16(const uint8_t *at, bool swapped)
{
	uint16_t value;

	memcpy(&value, at, sizeof value);
	return swapped ? __builtin_bswap16(value) : value;
}

static inline uint32_t decode_u32(const uint8_t *at, bool swapped)
{
	uint32_t value;

	memcpy(&value, at, sizeof value);
	return swapped ? __builtin_bswap32(value) : value;
}

static inline uint64_t decode_u64(const uint8_t *at, bool swapped)
{
	uint64_t value;

	memcpy(&value, at, sizeof value);
	return swapped ? __builtin_bswap64(value) : value;
}

static inline uint64_t decode_mixed(uint64_t value)
{
	value *= UINT64_C(0x9E3779B97F4A7C15);
	return value ^ value >> 29;
}

/* Where a number stands for; DECODE_NOWHERE: it is not known. */
static inline uint32_t decode_find(const struct decode_plan *plan, uint64_t number)
{
	uint64_t mask = plan->slot_count - 1;

	for (uint64_t i = decode_mixed(number);; i++) {
		const struct decode_slot *slot = &plan->slots[i & mask];

		if (slot->place == DECODE_NOWHERE || slot->number == number)
			return slot->place;
	}
}

void decode_index(struct decode_plan *plan, const uint64_t *numbers, const uint32_t *places,
		  size_t count);
void decode_note(struct decode_plan *plan, uint32_t whose, const char *text, uint32_t length,
		 uint32_t number);

/* Fill in an event of a raw record of so many bytes; false: the record is cut short. Names that are
 * new are left in `progress`. */
bool decode_raw(struct decode_plan *plan, const struct decode_tracepoint *form, const uint8_t *raw,
		uint32_t size, struct event *event, struct decode_progress *progress);

#endif

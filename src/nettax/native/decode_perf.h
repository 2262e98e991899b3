/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of perf.data's records; see nettax/events/perf. */
#ifndef NETTAX_DECODE_PERF_H
#define NETTAX_DECODE_PERF_H

#include "decode.h"

/* Where the parts of an attr's samples are, bytes from the record's start; negative: not in it. A
 * part that follows one of variable size is told from the end of that. Then the tracepoint. */
struct decode_attr {
	int32_t tid;
	int32_t time;
	int32_t cpu;
	int32_t read;
	int32_t read_entry;
	int32_t read_head;
	int32_t callchain;
	int32_t raw;
	int32_t least;	     /* up to the end of those at fixed places */
	uint32_t tracepoint; /* DECODE_NOWHERE: none of a known format */
};

enum { DECODE_ONE_ATTR, DECODE_BY_ID, DECODE_BY_TYPE };

struct decode_perf {
	struct decode_plan plan;
	const struct decode_attr *attrs;
	uint64_t attr_count;
	uint32_t by;	/* how a sample tells whose it is: DECODE_ONE_ATTR … */
	uint32_t id_at; /* where its id is */
};

enum { WALK_ON, WALK_BROKEN, WALK_SPECIAL };

struct walk {
	uint64_t stop;	/* where the chain goes on, bytes */
	uint32_t count; /* of records found */
	uint32_t why;	/* it stops there: WALK_ON: at the end, or a record goes beyond it */
};

void walk_records(const uint8_t *data, size_t size, bool swapped, bool to_special, uint32_t *starts,
		  struct walk *walk);
size_t walk_resync(const uint8_t *data, size_t size, bool swapped, size_t start);
int decode_samples(struct decode_perf *perf, const uint8_t *data, const uint32_t *starts,
		   uint32_t count, struct event *rows, struct decode_progress *progress);

#endif

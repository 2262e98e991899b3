/* SPDX-License-Identifier: Apache-2.0 */
/* Slices, moments and counters as lines of a Chrome trace (the Trace Event Format). */
#ifndef NETTAX_CHROME_H
#define NETTAX_CHROME_H

#include <stddef.h>
#include <stdint.h>

#include "sheet.h"

/* MARK of nettax.report.chrome_trace. Times in ns since the trace's beginning. */
struct chrome_mark {
	uint64_t start_ns;
	uint64_t end_ns;
	uint32_t name;
	uint32_t value; /* of a counter */
	uint16_t cpu;
	uint8_t track;
	uint8_t what; /* CHROME_… */
	uint32_t unused;
};

enum { CHROME_SLICE, CHROME_MOMENT, CHROME_COUNTER };

#define CHROME_DEPTH 256

/* Where the writing stands: the next mark, and the slices around it. */
struct chrome_state {
	uint64_t place;
	uint64_t depth;
	uint32_t around[CHROME_DEPTH];
};

/*
 * Lines, as many as there is room for; gives their size. Marks are by CPU, track and start, longer
 * ones first. Each line begins with a comma.
 */
size_t chrome_lines(const struct chrome_mark *marks, size_t count, const struct sheet_names *names,
		    struct chrome_state *state, char *out, size_t room);

#endif

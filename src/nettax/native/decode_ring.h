/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a trace ring buffer; see nettax/events/trace_dat.py, which has this layout too. */
#ifndef NETTAX_DECODE_RING_H
#define NETTAX_DECODE_RING_H

#include "decode.h"

struct decode_ring {
	struct decode_plan plan; /* its numbers are the events' types */
	uint64_t offset_ns;	 /* added to all times */
	uint32_t page_size;
	uint32_t long_size; /* of the kernel's local_t: 4 or 8 */
	uint32_t big;	    /* byte order of the machine */
	uint32_t tracepoint_count;
	uint32_t cpu;
	/* Where it is: a page, a place in it (0: at its beginning), where its entries end. */
	uint32_t page;
	uint64_t at;
	uint64_t end;
	uint64_t now;
	uint64_t last_ns; /* of the last event */
	uint32_t misses;  /* events were lost before the next one: */
	uint32_t broken;  /* pages whose chain does not hold, */
	uint64_t missed;  /* so many (0: not told), */
	uint64_t told;	  /* and in all */
	uint32_t at_broken;
	uint32_t pad;
};

int decode_pages(struct decode_ring *ring, const uint8_t *data, size_t size, struct event *rows,
		 struct decode_progress *progress);

#endif

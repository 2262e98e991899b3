/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events in the order of their times, out of buffers that were emptied one CPU after the other.
 *
 * What comes is nearly in order for long: a run. Rows that are late by a little are put in their
 * place at once, and the runs are merged. Equal times keep the order in which they were added.
 *
 * All memory is Python's; nettax/events/order.py has this layout too.
 */
#ifndef NETTAX_ORDER_H
#define NETTAX_ORDER_H

#include <stddef.h>

#include "event.h"

/* Rows in order, from `next` on. */
struct order_run {
	uint32_t next;
	uint32_t end;
};

struct order {
	struct event *rows;	/* those that wait, as they came */
	struct order_run *runs; /* room for as many as rows */
	uint32_t *heap;		/* the same; of runs, the one with the earliest row first */
	uint64_t count;		/* rows that wait, and those taken since the last order_settle() */
	uint64_t run_count;
	uint64_t heap_count;
	uint64_t heaped;    /* whether the heap is built */
	uint64_t passed_ns; /* of the last row taken */
	uint64_t late;	    /* rows dropped because later ones had been taken */
	uint64_t absurd;    /* rows dropped because their times, of centuries, are corrupt */
};

/* Events out of so many records of nettax's own rings, each behind its header. */
void event_unwrap(const uint8_t *records, size_t count, struct event *rows);
void order_add(struct order *order, size_t added);
size_t order_take(struct order *order, uint64_t until_ns, struct event *out, size_t room);
void order_settle(struct order *order);

#endif

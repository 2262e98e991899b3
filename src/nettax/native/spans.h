/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries and exits made into spans, and spans into groups: an interrupt and what it led to.
 *
 * Within a CPU, spans nest like brackets. What never finds its other half (at either end of the
 * recording, around lost events) is left out. What a group is, nettax.events.spans tells. Any bytes
 * may come as events: whatever they say, nothing here overruns.
 */
#ifndef NETTAX_SPANS_H
#define NETTAX_SPANS_H

#include <stddef.h>
#include <stdint.h>

#include "event.h"

/* SPAN of nettax.events.spans. Times in ns. */
struct span {
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t hard_ns;   /* hard IRQs inside it */
	uint64_t raised_ns; /* of a softirq: when it was raised; 0: not seen */
	int32_t pid;
	int32_t id; /* as in the entry's event, as is the name */
	int32_t name;
	uint32_t polls; /* of a softirq: NAPI polls inside it, */
	uint32_t packets;
	uint32_t full; /* and those that used up their budget */
	uint32_t switches;
	uint16_t cpu;
	uint8_t kind; /* of the entry's event */
	uint8_t flags;
	uint8_t level;	    /* how many spans are around it */
	uint8_t state;	    /* one of SPAN_… */
	uint8_t in_softirq; /* what is around it is one */
};

enum { SPAN_OPEN, SPAN_WHOLE, SPAN_CUT };

/* POLL of nettax.events.spans. */
struct poll {
	uint64_t start_ns; /* the poll before it in its softirq, or where that began; 0: in none */
	uint64_t end_ns;
	int32_t pid;
	int32_t device;
	int32_t work;
	int32_t budget;
	uint16_t cpu;
	uint16_t unused;
	uint32_t owner;
};

/* GROUP of nettax.events.spans. */
struct group {
	uint64_t start_ns;
	uint64_t end_ns;
	int64_t gap_ns;	       /* to the next interrupt or softirq; -1: the recording ends */
	uint64_t rx_start_ns;  /* where its first NET_RX began; 0: it has none */
	uint64_t rx_raised_ns; /* when that was raised; 0: not seen */
	uint64_t first_span;   /* of those of this batch */
	uint64_t first_poll;
	uint32_t spans;
	uint32_t polls;
	uint32_t rounds; /* NET_RX softirqs */
	uint32_t inside; /* hard IRQs inside its softirqs */
	int32_t pid;
	uint16_t cpu;
	uint8_t by_irq; /* it begins with a hard IRQ */
	uint8_t unused;
};

/* Where to put what is complete: room for every event of the batch, and for all that are held. */
struct spans_out {
	struct group *groups;
	struct span *spans;
	struct poll *polls;
	uint64_t group_count;
	uint64_t span_count;
	uint64_t poll_count;
	uint64_t known_ns; /* all groups that began before then were given */
};

struct spans;
struct spans *spans_open(void);
void spans_close(struct spans *spans);
/* How many spans and polls are held, of which the next batch may give all. */
size_t spans_held(const struct spans *spans);
/* These give 0 or an errno. */
int spans_feed(struct spans *spans, const struct event *events, size_t count,
	       struct spans_out *out);
int spans_finish(struct spans *spans, struct spans_out *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* An event of a recording: EVENT, Kind and Flag of nettax/events/model.py. */
#ifndef NETTAX_EVENT_H
#define NETTAX_EVENT_H

#include <stdint.h>

#define EVENT_NEVER	(UINT64_C(1) << 62) /* ns: what is later can only be corrupt */
#define EVENT_EVERY_CPU 0xffff
#define EVENT_VECTORS	10 /* of softirqs: include/linux/interrupt.h */

struct event {
	uint64_t time_ns;
	int32_t pid;
	uint16_t cpu;
	uint8_t kind;
	uint8_t flags;
	int32_t id;
	int32_t a;
	int32_t b;
	int32_t c;
	uint64_t value;
};

_Static_assert(sizeof(struct event) == 40, "EVENT of nettax/events/model.py has this layout too");

/* Kind */
enum {
	EVENT_HARDIRQ_ENTRY = 1,
	EVENT_HARDIRQ_EXIT,
	EVENT_VECTOR_ENTRY,
	EVENT_VECTOR_EXIT,
	EVENT_SOFTIRQ_RAISE,
	EVENT_SOFTIRQ_ENTRY,
	EVENT_SOFTIRQ_EXIT,
	EVENT_NAPI_POLL,
	EVENT_SWITCH,
	EVENT_WAKEUP,
	EVENT_MIGRATE,
	EVENT_FORK,
	EVENT_EXIT,
	EVENT_PACKET,
	EVENT_LOST,
	EVENT_BEGIN,
	EVENT_END,
};

/* Flag */
enum {
	EVENT_IRQ_EXIT = 1,
	EVENT_BH_ENABLE = 2,
	EVENT_PREEMPTED = 4,
	EVENT_BILLED = 8,
	EVENT_DEAD = 16,
};

#endif

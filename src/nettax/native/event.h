/* SPDX-License-Identifier: Apache-2.0 */
/* An event of a recording, as the readers of recordings fill it in: nettax/events/model.py. */
#ifndef NETTAX_EVENT_H
#define NETTAX_EVENT_H

#include <stdint.h>

#define EVENT_NEVER (UINT64_C(1) << 62) /* ns: what is later can only be corrupt */

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

enum { EVENT_SWITCH = 9, EVENT_LOST = 15 };    /* of Kind */
enum { EVENT_PREEMPTED = 4, EVENT_DEAD = 16 }; /* of Flag */

#endif

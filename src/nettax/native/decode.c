// SPDX-License-Identifier: Apache-2.0
/* One raw record of a tracepoint: its fields and its names. */
#include "decode.h"

/* What sched_switch says of a state: include/linux/sched.h, EXIT_DEAD and EXIT_ZOMBIE; and
 * TASK_REPORT_MAX of __trace_sched_switch_state(), since Linux v4.14. */
#define STATE_BITS	0x7fffffffU
#define STATE_DEAD	(0x10U | 0x20U)
#define STATE_PREEMPTED 0x100U

/* Note what each number stands for; of equal ones the first counts. */
void decode_index(struct decode_plan *plan, const uint64_t *numbers, const uint32_t *places,
		  size_t count)
{
	uint64_t mask = plan->slot_count - 1;

	for (uint64_t i = 0; i < plan->slot_count; i++)
		plan->slots[i].place = DECODE_NOWHERE;
	for (size_t k = 0; k < count; k++) {
		uint64_t i = decode_mixed(numbers[k]);
		struct decode_slot *slot = &plan->slots[i & mask];

		while (slot->place != DECODE_NOWHERE && slot->number != numbers[k])
			slot = &plan->slots[++i & mask];
		if (slot->place == DECODE_NOWHERE)
			*slot = (struct decode_slot){.number = numbers[k], .place = places[k]};
	}
}

/* Of whom a name is. */
static inline uint64_t hashed(uint32_t whose, int32_t number)
{
	return decode_mixed((uint64_t)whose << 32 | (uint32_t)number) | 1;
}

/* Of whom it is, and what it is. */
static inline uint64_t hashed_with(uint64_t hash, const char *text, size_t length)
{
	uint64_t word;

	hash += length;
	for (; length >= 8; text += 8, length -= 8) {
		memcpy(&word, text, 8);
		hash = decode_mixed(hash ^ word);
	}
	word = 0;
	for (size_t i = 0; i < length; i++)
		word = word << 8 | (uint8_t)text[i];
	return decode_mixed(hash ^ word) | 1;
}

static struct decode_seen *set_of(const struct decode_plan *plan, uint64_t hash)
{
	return &plan->seen[(hash >> 32) % DECODE_SEEN_SETS * DECODE_SEEN_WAYS];
}

static const struct decode_seen *find_seen(const struct decode_plan *plan, uint64_t hash)
{
	const struct decode_seen *set = set_of(plan, hash);

	for (int i = 0; i < DECODE_SEEN_WAYS; i++)
		if (set[i].hash == hash)
			return &set[i];
	return NULL;
}

/* Put it first in its set; the one that was put in there longest ago is forgotten. */
static void note_seen(struct decode_plan *plan, uint64_t hash, uint32_t number)
{
	struct decode_seen *set = set_of(plan, hash);

	memmove(set + 1, set, (DECODE_SEEN_WAYS - 1) * sizeof *set);
	set[0] = (struct decode_seen){.hash = hash, .number = number};
}

/* A device's name has this number. */
void decode_note(struct decode_plan *plan, uint32_t whose, const char *text, uint32_t length,
		 uint32_t number)
{
	note_seen(plan, hashed_with(hashed(whose, 0), text, length), number);
}

static inline int64_t number_at(const uint8_t *at, const struct decode_field *field, bool swapped)
{
	switch (field->size) {
	case 1:
		return field->is_signed ? (int8_t)*at : *at;
	case 2:
		return field->is_signed ? (int16_t)decode_u16(at, swapped)
					: decode_u16(at, swapped);
	case 4:
		return field->is_signed ? (int32_t)decode_u32(at, swapped)
					: (int64_t)decode_u32(at, swapped);
	default:
		return (int64_t)decode_u64(at, swapped);
	}
}

/* Where a name is, and how long; up to its NUL. */
static const char *text_at(const struct decode_text *text, const uint8_t *raw, uint32_t size,
			   bool swapped, uint32_t *length)
{
	uint32_t at = text->from, most = text->most;

	if (text->dynamic) {
		uint32_t where = decode_u32(raw + at, swapped);

		at = (where & 0xffff) + text->base;
		most = where >> 16 < most ? where >> 16 : most;
	}
	if (at >= size)
		at = size, most = 0;
	if (most > size - at)
		most = size - at;
	*length = strnlen((const char *)raw + at, most);
	return (const char *)raw + at;
}

static void sight(struct decode_progress *progress, uint64_t time_ns, uint32_t whose,
		  int32_t number, const char *text, uint32_t length)
{
	struct decode_sight *new = &progress->sight[progress->sights++];

	new->time_ns = time_ns;
	new->whose = whose;
	new->number = number;
	new->length = length;
	memcpy(new->text, text, length);
}

static inline void look_at_name(struct decode_plan *plan, const struct decode_text *text,
				const uint8_t *raw, uint32_t size, bool swapped,
				struct event *event, struct decode_progress *progress)
{
	const struct decode_seen *seen;
	const char *name;
	int32_t number = 0;
	uint32_t length = 0;
	uint64_t hash;

	/* Of an IRQ, and of a task if its names are told, one name will do. */
	bool any = text->whose == DECODE_IRQ || (text->whose == DECODE_TASK && plan->names_told);

	if (text->whose != DECODE_DEVICE) {
		memcpy(&number, (char *)event + text->to, sizeof number);
		if (text->whose != DECODE_IRQ && number <= 0)
			return;
	}
	hash = hashed(text->whose, number);
	if (!any) {
		name = text_at(text, raw, size, swapped, &length);
		hash = hashed_with(hash, name, length);
	}
	seen = text->whose == DECODE_RENAME ? NULL : find_seen(plan, hash);
	if (seen) {
		if (text->whose == DECODE_DEVICE)
			event->id = (int32_t)seen->number;
		return;
	}
	if (any)
		name = text_at(text, raw, size, swapped, &length);
	sight(progress, event->time_ns, text->whose, number, name, length);
	if (text->whose == DECODE_TASK || text->whose == DECODE_IRQ)
		note_seen(plan, hash, 0);
}

static inline void settle_switch(struct event *event)
{
	uint32_t state = (uint32_t)event->a & STATE_BITS;

	if (state & STATE_PREEMPTED)
		event->flags |= EVENT_PREEMPTED;
	if (state & STATE_DEAD)
		event->flags |= EVENT_DEAD;
	event->a = state & STATE_PREEMPTED ? 0 : (int32_t)state;
}

static inline __attribute__((always_inline)) void
fill(struct decode_plan *plan, const struct decode_tracepoint *form, const uint8_t *raw,
     uint32_t size, struct event *event, struct decode_progress *progress, bool swapped)
{
	event->kind = form->kind;
	event->a = form->a;
	event->c = form->c;
	for (unsigned int i = 0; i < form->fields; i++) {
		const struct decode_field *field = &form->field[i];
		int64_t number = number_at(raw + field->from, field, swapped);

		if (field->to == offsetof(struct event, value))
			event->value = (uint64_t)number;
		else
			memcpy((char *)event + field->to, &(int32_t){(int32_t)number},
			       sizeof(int32_t));
	}
	if (form->kind == EVENT_SWITCH)
		settle_switch(event);
	for (unsigned int i = 0; i < form->texts; i++)
		look_at_name(plan, &form->text[i], raw, size, swapped, event, progress);
}

bool decode_raw(struct decode_plan *plan, const struct decode_tracepoint *form, const uint8_t *raw,
		uint32_t size, struct event *event, struct decode_progress *progress)
{
	if (size < form->least)
		return false;
	if (plan->swapped)
		fill(plan, form, raw, size, event, progress, true);
	else
		fill(plan, form, raw, size, event, progress, false);
	return true;
}

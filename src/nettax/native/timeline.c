// SPDX-License-Identifier: Apache-2.0
/* Groups of spans as lines for people; nettax.report.timeline tells what the words mean. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "sheet.h"
#include "timeline.h"

#define FEW   4 /* rounds of a softirq that are told one by one */
#define SHOWN 8 /* runs of equal polls */
#define US    1000
#define SEC   1000000000ull

/* As time_text() of nettax.report.interval: with its unit, to three digits. */
static void put_time(struct sheet *sheet, uint64_t ns)
{
	static const struct {
		uint64_t size;
		const char *unit;
	} units[] = {{1000000000, " s"}, {1000000, " ms"}, {1000, " µs"}};
	uint64_t size, step, digits;
	char text[32];
	int i = 0;

	if (ns < US) {
		put_number(sheet, ns, 0, ' ');
		PUT(sheet, " ns");
		return;
	}
	while (ns < units[i].size)
		i++;
	size = units[i].size;
	step = ns < 10 * size ? size / 100 : ns < 100 * size ? size / 10 : size;
	digits = (ns + step / 2) / step;
	/* Where it is large, or just between two, as printf() rounds: dear, but seldom. */
	if (digits >= 1000 || ns % step * 2 == step) {
		put(sheet, text, snprintf(text, sizeof(text), "%.3g", ns / (double)size));
	} else {
		uint64_t whole = size / step, rest = digits % whole;

		put_number(sheet, digits / whole, 0, ' ');
		if (rest) {
			PUT(sheet, ".");
			if (whole == 100 && rest % 10 == 0)
				put_number(sheet, rest / 10, 1, '0');
			else
				put_number(sheet, rest, whole == 100 ? 2 : 1, '0');
		}
	}
	put(sheet, units[i].unit, strlen(units[i].unit));
}

static void put_many(struct sheet *sheet, uint64_t many)
{
	if (many < 2)
		return;
	PUT(sheet, " ×");
	put_number(sheet, many, 0, ' ');
}

/* How much was done of which budget, poll by poll: (64/64, 27/64). */
static void put_polls(struct sheet *sheet, const struct poll *polls, size_t count)
{
	size_t next;

	for (size_t i = 0, runs = 0; i < count; i = next, runs++) {
		if (runs)
			PUT(sheet, ", ");
		if (runs == SHOWN) {
			PUT(sheet, "…");
			break;
		}
		put_number(sheet, polls[i].work, 0, ' ');
		PUT(sheet, "/");
		put_number(sheet, polls[i].budget, 0, ' ');
		for (next = i + 1; next < count; next++)
			if (polls[next].work != polls[i].work ||
			    polls[next].budget != polls[i].budget)
				break;
		put_many(sheet, next - i);
	}
}

/* Times of a few rounds one by one, of many their sum. */
static void put_rounds(struct sheet *sheet, const uint64_t *few, size_t rounds, uint64_t sum)
{
	if (rounds > FEW) {
		put_time(sheet, sum);
		PUT(sheet, " in all");
		return;
	}
	for (size_t i = 0; i < rounds; i++) {
		if (i)
			PUT(sheet, " + ");
		put_time(sheet, few[i]);
	}
}

/* The next span that nothing is around; NULL: there is none. */
static const struct span *outer(const struct span *span, const struct span *end)
{
	while (span < end && span->level)
		span++;
	return span < end ? span : NULL;
}

/* The hard IRQs and softirqs of a group, those in a row that are alike as one step. */
static void put_steps(struct sheet *sheet, const struct timeline_part *part,
		      const struct sheet_names *names, const struct group *group)
{
	const struct span *span = part->spans + group->first_span, *end = span + group->spans;
	const struct poll *polls = part->polls + group->first_poll;
	bool after_hard = false, first = true;

	for (span = outer(span, end); span; first = false) {
		uint32_t label = part->labels[span - part->spans];
		bool hard = span->kind != EVENT_SOFTIRQ_ENTRY;
		uint64_t few[FEW], sum = 0;
		size_t rounds = 0, polled = 0;

		for (; span && part->labels[span - part->spans] == label;
		     span = outer(span + 1, end)) {
			uint64_t taken = span->end_ns - span->start_ns - span->hard_ns;

			if (rounds < FEW)
				few[rounds] = taken;
			sum += taken;
			polled += span->polls;
			rounds++;
		}
		if (after_hard && hard)
			PUT(sheet, " + ");
		else if (!first)
			PUT(sheet, " → ");
		put_name(sheet, names, label);
		put_many(sheet, rounds);
		after_hard = hard;
		if (hard)
			continue;
		if (polled) {
			PUT(sheet, " (");
			put_polls(sheet, polls, polled);
			PUT(sheet, ")");
			polls += polled;
		}
		PUT(sheet, " ");
		put_rounds(sheet, few, rounds, sum);
	}
}

static void put_line(struct sheet *sheet, const struct timeline_part *part,
		     const struct sheet_names *names, size_t place)
{
	const struct group *group = part->groups + place;
	uint64_t us = (group->start_ns + US / 2) / US;

	put_number(sheet, us / (SEC / US), 9, ' ');
	PUT(sheet, ".");
	put_number(sheet, us % (SEC / US), 6, '0');
	PUT(sheet, "  ");
	put_number(sheet, group->cpu, 3, ' ');
	PUT(sheet, "  ");
	put_name(sheet, names, part->tasks[place]);
	PUT(sheet, " ");
	put_steps(sheet, part, names, group);
	if (group->inside) {
		PUT(sheet, " (interrupted ×");
		put_number(sheet, group->inside, 0, ' ');
		PUT(sheet, ")");
	}
	if (group->gap_ns >= 0) {
		PUT(sheet, " → gap ");
		put_time(sheet, group->gap_ns);
	}
	PUT(sheet, "\n");
}

size_t timeline_lines(const struct timeline_part *part, const struct sheet_names *names,
		      size_t *place, char *out, size_t room)
{
	struct sheet sheet = {.at = out, .end = out + room};

	while (*place < part->count) {
		char *start = sheet.at;

		put_line(&sheet, part, names, *place);
		if (sheet.full)
			return start - out;
		++*place;
	}
	return sheet.at - out;
}

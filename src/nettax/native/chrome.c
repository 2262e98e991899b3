// SPDX-License-Identifier: Apache-2.0
/* Slices of a track nest: what is around the next one stays open, all else ends before it. */
#include "chrome.h"

#define US	 1000
#define COUNTERS 4 /* a track of its own here; in the trace it belongs to no thread */

static void put_event(struct sheet *sheet, char phase, const struct chrome_mark *mark,
		      const struct sheet_names *names, uint64_t time)
{
	PUT(sheet, ",\n{\"ph\":\"");
	put(sheet, &phase, 1);
	PUT(sheet, "\",\"pid\":");
	put_number(sheet, mark->cpu, 0, ' ');
	PUT(sheet, ",\"tid\":");
	put_number(sheet, mark->track == COUNTERS ? 0 : mark->track, 0, ' ');
	PUT(sheet, ",\"name\":");
	put_name(sheet, names, mark->name);
	PUT(sheet, ",\"ts\":");
	put_number(sheet, time / US, 0, ' ');
	PUT(sheet, ".");
	put_number(sheet, time % US, 3, '0');
	if (phase == 'C') {
		PUT(sheet, ",\"args\":{\"packets\":");
		put_number(sheet, mark->value, 0, ' ');
		PUT(sheet, "}");
	} else if (phase == 'i') {
		PUT(sheet, ",\"s\":\"t\"");
	}
	PUT(sheet, "}");
}

/* Whether the innermost slice is over where the next mark begins. */
static bool is_over(const struct chrome_state *state, const struct chrome_mark *marks, size_t count)
{
	const struct chrome_mark *last, *next = marks + state->place;

	if (!state->depth)
		return false;
	last = marks + state->around[state->depth - 1];
	return state->place == count || last->cpu != next->cpu || last->track != next->track ||
	       last->end_ns <= next->start_ns || state->depth == CHROME_DEPTH;
}

size_t chrome_lines(const struct chrome_mark *marks, size_t count, const struct sheet_names *names,
		    struct chrome_state *state, char *out, size_t room)
{
	static const char phases[] = {'B', 'i', 'C'};
	struct sheet sheet = {.at = out, .end = out + room};

	while (state->place < count || state->depth) {
		char *start = sheet.at;
		bool over = is_over(state, marks, count);
		uint64_t place = over ? state->around[state->depth - 1] : state->place;
		const struct chrome_mark *mark = marks + place;

		put_event(&sheet, over ? 'E' : phases[mark->what], mark, names,
			  over ? mark->end_ns : mark->start_ns);
		if (sheet.full)
			return start - out;
		if (over)
			state->depth--;
		else if (state->place++, mark->what == CHROME_SLICE)
			state->around[state->depth++] = place;
	}
	return sheet.at - out;
}

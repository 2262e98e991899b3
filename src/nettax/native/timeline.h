/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of spans as lines for people. */
#ifndef NETTAX_TIMELINE_H
#define NETTAX_TIMELINE_H

#include <stddef.h>
#include <stdint.h>

#include "sheet.h"
#include "spans.h"

struct timeline_part {
	const struct group *groups;
	const struct span *spans;
	const struct poll *polls;
	size_t count;		/* of the groups */
	const uint32_t *tasks;	/* by group: the number of its task's name */
	const uint32_t *labels; /* by span: the number of its own */
};

/* Lines from *place on, as many as there is room for; gives their size, and moves *place on. */
size_t timeline_lines(const struct timeline_part *part, const struct sheet_names *names,
		      size_t *place, char *out, size_t room);

#endif

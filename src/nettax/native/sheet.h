/* SPDX-License-Identifier: Apache-2.0 */
/* Text, written into memory that somebody else gave. */
#ifndef NETTAX_SHEET_H
#define NETTAX_SHEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Name i is from places[i] to places[i + 1], in UTF-8, as it is to be printed. */
struct sheet_names {
	const char *text;
	const uint64_t *places;
};

/* Where to write; what finds no room sets `full`. */
struct sheet {
	char *at;
	char *end;
	bool full;
};

static inline void put(struct sheet *sheet, const char *text, size_t length)
{
	if ((size_t)(sheet->end - sheet->at) < length) {
		sheet->full = true;
		return;
	}
	memcpy(sheet->at, text, length);
	sheet->at += length;
}

#define PUT(sheet, text) put(sheet, text, sizeof(text) - 1)

/* A whole number, as wide as `width` at least, filled up from the left. */
static inline void put_number(struct sheet *sheet, int64_t number, int width, char fill)
{
	char digits[32];
	int at = sizeof(digits);
	uint64_t left = number < 0 ? -(uint64_t)number : (uint64_t)number;

	do {
		digits[--at] = '0' + left % 10;
		left /= 10;
	} while (left);
	if (number < 0)
		digits[--at] = '-';
	while (at > 0 && (int)sizeof(digits) - at < width)
		digits[--at] = fill;
	put(sheet, digits + at, sizeof(digits) - at);
}

static inline void put_name(struct sheet *sheet, const struct sheet_names *names, uint32_t number)
{
	put(sheet, names->text + names->places[number],
	    names->places[number + 1] - names->places[number]);
}

#endif

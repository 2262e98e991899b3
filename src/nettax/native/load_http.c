// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <string.h>
#include <strings.h>

#include "load_http.h"

static bool named(const char *line, const char *end, const char *name, const char **value)
{
	size_t length = strlen(name);

	if ((size_t)(end - line) <= length || line[length] != ':' ||
	    strncasecmp(line, name, length))
		return false;
	for (*value = line + length + 1; *value < end && (**value == ' ' || **value == '\t');)
		++*value;
	return true;
}

static bool has_word(const char *at, const char *end, const char *word)
{
	size_t length = strlen(word);

	for (; at + length <= end; at++)
		if (!strncasecmp(at, word, length))
			return true;
	return false;
}

static bool to_number(const char *at, const char *end, unsigned int base, uint64_t *number)
{
	const char *start = at;

	for (*number = 0; at < end && at - start < 15; at++) {
		int digit = *at >= '0' && *at <= '9'		? *at - '0'
			    : (*at | 0x20) >= 'a' && base == 16 ? (*at | 0x20) - 'a' + 10
								: 16;

		if (digit >= (int)base)
			break;
		*number = *number * base + digit;
	}
	return at > start && (at == end || *at == ';' || *at == ' ' || *at == '\t');
}

static bool read_header(struct http_answer *answer, const char *line, const char *end)
{
	const char *value;

	if (named(line, end, "content-length", &value)) {
		answer->sized = true;
		return to_number(value, end, 10, &answer->left);
	}
	if (named(line, end, "transfer-encoding", &value))
		answer->chunked = has_word(value, end, "chunked");
	else if (named(line, end, "connection", &value)) {
		if (has_word(value, end, "close"))
			answer->close = true;
		else if (has_word(value, end, "keep-alive"))
			answer->close = false;
	}
	return true;
}

/* HTTP/1.1 200 OK, headers, an empty line: what they say of the body. */
static bool read_head(struct http_answer *answer, const char *at, const char *end)
{
	if (end - at < 14 || memcmp(at, "HTTP/1.", 7) || at[8] != ' ')
		return false;
	answer->old = answer->close = at[7] == '0';
	answer->status = 0;
	for (int i = 9; i < 12; i++) {
		if (at[i] < '0' || at[i] > '9')
			return false;
		answer->status = answer->status * 10 + at[i] - '0';
	}
	answer->chunked = answer->sized = false;
	answer->left = 0;
	for (const char *line = at, *next; line < end; line = next + 1) {
		next = memchr(line, '\n', end - line);
		if (!next || next == line || next[-1] != '\r')
			return false;
		if (line > at && !read_header(answer, line, next - 1))
			return false;
	}
	return true;
}

/* What follows a head: true where nothing does. */
static bool is_whole(struct http_answer *answer, bool no_body)
{
	if (no_body || answer->status == 204 || answer->status == 304)
		return true;
	if (answer->chunked)
		answer->state = HTTP_CHUNK;
	else if (!answer->sized)
		answer->state = HTTP_TO_END;
	else if (answer->left)
		answer->state = HTTP_BODY;
	else
		return true;
	return false;
}

/* Find an end mark in what is kept and what comes; `*at` moves behind it. NULL: more must come. */
static const char *collect(struct http_answer *answer, const char **at, const char *end,
			   const char *mark, const char **found, bool *wrong)
{
	size_t length = end - *at, size = strlen(mark);
	const char *hit = answer->kept ? NULL : memmem(*at, length, mark, size);

	if (hit) { /* all of it is here: no copy */
		const char *start = *at;

		*at = *found = hit + size;
		return start;
	}

	size_t room = HTTP_HEAD - answer->kept, before = answer->kept;
	size_t more = length < room ? length : room;
	size_t from = before >= size ? before - size + 1 : 0;

	memcpy(answer->head + before, *at, more);
	answer->kept += more;
	hit = memmem(answer->head + from, answer->kept - from, mark, size);
	if (!hit) {
		*at += more;
		*wrong = answer->kept == HTTP_HEAD;
		return NULL;
	}
	*found = hit + size;
	*at += *found - answer->head - before;
	answer->kept = 0;
	return answer->head;
}

static enum http_verdict take_head(struct http_answer *answer, const char **at, const char *end,
				   bool no_body)
{
	bool wrong = false;
	const char *past, *start = collect(answer, at, end, "\r\n\r\n", &past, &wrong);

	if (!start)
		return wrong ? HTTP_WRONG : HTTP_MORE;
	if (!read_head(answer, start, past - 2))
		return HTTP_WRONG;
	if (answer->status >= 100 && answer->status < 200)
		return HTTP_MORE; /* the answer proper follows */
	return is_whole(answer, no_body) ? HTTP_WHOLE : HTTP_MORE;
}

/* A chunk's size, the empty line behind a chunk, a trailer's lines: all are lines. */
static enum http_verdict take_line(struct http_answer *answer, const char **at, const char *end)
{
	bool wrong = false;
	const char *past, *start = collect(answer, at, end, "\r\n", &past, &wrong);

	if (!start)
		return wrong ? HTTP_WRONG : HTTP_MORE;
	past -= 2;
	switch (answer->state) {
	case HTTP_CHUNK:
		if (!to_number(start, past, 16, &answer->left))
			return HTTP_WRONG;
		answer->state = answer->left ? HTTP_BODY : HTTP_TRAILER;
		return HTTP_MORE;
	case HTTP_CHUNK_END:
		answer->state = HTTP_CHUNK;
		return past == start ? HTTP_MORE : HTTP_WRONG;
	default:
		return past == start ? HTTP_WHOLE : HTTP_MORE;
	}
}

enum http_verdict http_take(struct http_answer *answer, const char *bytes, size_t length,
			    size_t *taken, bool no_body)
{
	const char *at = bytes, *end = bytes + length;
	enum http_verdict verdict = HTTP_MORE;

	while (verdict == HTTP_MORE && at < end) {
		if (answer->state == HTTP_HEADERS) {
			verdict = take_head(answer, &at, end, no_body);
		} else if (answer->state == HTTP_TO_END) {
			at = end;
		} else if (answer->state == HTTP_BODY) {
			uint64_t part = end - at;

			if (part > answer->left)
				part = answer->left;
			at += part;
			answer->left -= part;
			if (!answer->left && answer->chunked)
				answer->state = HTTP_CHUNK_END;
			else if (!answer->left)
				verdict = HTTP_WHOLE;
		} else {
			verdict = take_line(answer, &at, end);
		}
	}
	*taken = at - bytes;
	return verdict;
}

bool http_ends(const struct http_answer *answer)
{
	return answer->state == HTTP_TO_END;
}

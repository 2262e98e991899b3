// SPDX-License-Identifier: GPL-2.0-only
#include "request.h"

#define FEW	1024 /* bytes of a chunk's extension, and of all trailers */
#define CR_SEEN (FEW + 1)

enum part { PART_SIZE, PART_EXTENSION, PART_DATA, PART_DATA_END, PART_TRAILER, PART_NONE };

struct span {
	const char *at;
	size_t length;
};

long head_end(struct head_search *search, const char *bytes, size_t count)
{
	const char *found;

	while ((found = memchr(bytes + search->seen, '\n', count - search->seen))) {
		size_t end = found - bytes;

		/* A bare LF, which one server takes for a line's end and the next does not. */
		if (end == search->line || bytes[end - 1] != '\r')
			return -1;
		search->seen = end + 1;
		if (end - search->line == 1)
			return end + 1;
		search->line = end + 1;
	}
	search->seen = count;
	return 0;
}

static bool is(struct span span, const char *word)
{
	return span.length == strlen(word) && !memcmp(span.at, word, span.length);
}

static bool is_any_case(struct span span, const char *word)
{
	return span.length == strlen(word) && !strncasecmp(span.at, word, span.length);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 9110, 5.6.2 */
static bool is_token(struct span span)
{
	size_t i;

	for (i = 0; i < span.length; i++) {
		char c = span.at[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!letter && !is_digit(c) && (!c || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return span.length;
}

/* What stands before a character, which is passed over, too. */
static bool split(struct span *rest, char at, struct span *before)
{
	const char *found = memchr(rest->at, at, rest->length);

	if (!found)
		return false;
	*before = (struct span){rest->at, found - rest->at};
	rest->length -= before->length + 1;
	rest->at = found + 1;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span trimmed(struct span span)
{
	while (span.length && is_blank(*span.at)) {
		span.at++;
		span.length--;
	}
	while (span.length && is_blank(span.at[span.length - 1]))
		span.length--;
	return span;
}

static int parse_method(struct request *request, struct span method)
{
	static const char *const known[] = {"POST",    "PUT",	"DELETE", "CONNECT",
					    "OPTIONS", "TRACE", "PATCH"};
	size_t i;

	request->head_only = is(method, "HEAD");
	if (request->head_only || is(method, "GET"))
		return 200;
	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (is(method, known[i]))
			return 405;
	return 501;
}

/* What there is: "/", with any query, from any host. */
static int parse_target(struct span target)
{
	struct span part;

	if (target.length > 7 && !strncasecmp(target.at, "http://", 7)) {
		target.at += 7;
		target.length -= 7;
		if (!split(&target, '/', &part))
			return 200;
		target.at--;
		target.length++;
	}
	if (split(&target, '?', &part))
		target = part;
	return is(target, "/") ? 200 : 404;
}

static int parse_line(struct request *request, struct span line)
{
	struct span method, target;
	size_t i;

	if (!split(&line, ' ', &method) || !is_token(method) || !split(&line, ' ', &target) ||
	    !target.length)
		return 400;
	for (i = 0; i < target.length; i++) {
		unsigned char c = target.at[i]; /* a char has a sign until Linux 6.2 */

		if (c <= ' ' || c >= 0x7f)
			return 400;
	}
	if (line.length != 8 || memcmp(line.at, "HTTP/", 5) || !is_digit(line.at[5]) ||
	    line.at[6] != '.' || !is_digit(line.at[7]))
		return 400;
	if (line.at[5] != '1')
		return 505;
	request->old = line.at[7] == '0';
	request->status = parse_method(request, method);
	if (request->status == 200)
		request->status = parse_target(target);
	return 0;
}

static int parse_length(struct request *request, struct span value)
{
	size_t i;

	if (!value.length || request->has_length)
		return 400;
	request->has_length = true;
	for (i = 0; i < value.length; i++) {
		if (!is_digit(value.at[i]))
			return 400;
		if (request->length <= REQUEST_BODY_MOST)
			request->length = request->length * 10 + (value.at[i] - '0');
	}
	return request->length > REQUEST_BODY_MOST ? 413 : 0;
}

static void parse_connection(struct request *request, struct span value)
{
	struct span word;
	bool more;

	do {
		more = split(&value, ',', &word);
		word = trimmed(more ? word : value);
		request->says_close |= is_any_case(word, "close");
		request->says_keep |= is_any_case(word, "keep-alive");
	} while (more);
}

static int parse_field(struct request *request, struct span name, struct span value)
{
	size_t i;

	for (i = 0; i < value.length; i++) {
		unsigned char c = value.at[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return 400;
	}
	if (is_any_case(name, "Host")) {
		request->hosts++;
	} else if (is_any_case(name, "Connection")) {
		parse_connection(request, value);
	} else if (is_any_case(name, "Content-Length")) {
		return parse_length(request, value);
	} else if (is_any_case(name, "Expect")) {
		if (!is_any_case(value, "100-continue"))
			return 417;
		request->expects_continue = !request->old;
	} else if (is_any_case(name, "Transfer-Encoding")) {
		if (request->old || request->chunked)
			return 400;
		if (!is_any_case(value, "chunked"))
			return 501;
		request->chunked = true;
	}
	return 0;
}

int request_parse(struct request *request, const char *head, size_t length)
{
	struct span rest = {head, length}, line, name;
	int status;

	memset(request, 0, sizeof(*request));
	split(&rest, '\n', &line);
	line.length--; /* the CR, which head_end() saw before each LF */
	status = parse_line(request, line);
	if (status)
		return status;
	while (split(&rest, '\n', &line) && --line.length) {
		/* A blank first is a folded line; before the colon, a trick. */
		if (!split(&line, ':', &name) || !is_token(name))
			return 400;
		status = parse_field(request, name, trimmed(line));
		if (status)
			return status;
	}
	/* Both a length and chunks: how requests are smuggled past a proxy. */
	if (request->hosts > 1 || (!request->old && !request->hosts) ||
	    (request->chunked && request->has_length))
		return 400;
	request->keep_alive = !request->says_close && (!request->old || request->says_keep);
	return 0;
}

bool body_ended(const struct body *body)
{
	return body->chunked ? body->part == PART_NONE : !body->left;
}

static int hex(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of what is around the data of chunks. Gives 0, or a status to refuse it with. */
static int chunk_byte(struct body *body, char c)
{
	int digit;

	switch (body->part) {
	case PART_SIZE: /* "1a" */
		digit = hex(c);
		if (digit >= 0) {
			body->left = body->left * 16 + digit;
			body->count++;
			return body->left + body->all > REQUEST_BODY_MOST ? 413
			       : body->count > 16			  ? 400
									  : 0;
		}
		if (!body->count || (c != '\r' && c != ';' && c != ' ' && c != '\t'))
			return 400;
		body->part = PART_EXTENSION;
		body->count = c == '\r' ? CR_SEEN : 0;
		return 0;
	case PART_EXTENSION: /* ";a=b\r\n" */
		if (c == '\n' && body->count == CR_SEEN) {
			body->part = body->left ? PART_DATA : PART_TRAILER;
			body->all += body->left;
			body->count = 0;
			return 0;
		}
		if (body->count >= FEW || c == '\n')
			return 400;
		body->count = c == '\r' ? CR_SEEN : body->count + 1;
		return 0;
	case PART_DATA_END: /* "\r\n" */
		if (c != "\r\n"[body->count])
			return 400;
		if (++body->count == 2) {
			body->part = PART_SIZE;
			body->count = 0;
		}
		return 0;
	default: /* trailers, of which left is how much of an empty line is there: 0 is its begin */
		if (++body->count > FEW)
			return 431;
		if ((c == '\n') != (body->left & 1))
			return 400; /* one of CR and LF without the other */
		if (c == '\n' && body->left == 1)
			body->part = PART_NONE;
		/* 0: a line begins; 1: CR, it was empty; 2: it was not; 3: then a CR came */
		body->left = c == '\n' ? 0 : c != '\r' ? 2 : body->left ? 3 : 1;
		return 0;
	}
}

long body_pass(struct body *body, const char *bytes, size_t count)
{
	size_t at = 0;

	while (at < count && !body_ended(body)) {
		if (!body->chunked || body->part == PART_DATA) {
			size_t now = count - at < body->left ? count - at : body->left;

			at += now;
			body->left -= now;
			if (body->chunked && !body->left)
				body->part = PART_DATA_END;
		} else {
			int status = chunk_byte(body, bytes[at++]);

			if (status)
				return -status;
		}
	}
	return at;
}

// SPDX-License-Identifier: Apache-2.0
/* The head of a request (RFC 9112, sections 3, 5 and 6): what may be understood in two ways is
 * wrong. */
#include <string.h>
#include <strings.h>

#include "server.h"

struct span {
	const char *at;
	size_t length;
};

/* What the headers of one request say. */
struct headers {
	bool host, length, chunked, keep_alive, close, expect;
	uint64_t body;
};

static bool is(struct span span, const char *word)
{
	return span.length == strlen(word) && !strncasecmp(span.at, word, span.length);
}

static bool is_token(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Take what stands before a character, and the character. */
static bool take_until(struct span *rest, char end, struct span *taken)
{
	const char *at = memchr(rest->at, end, rest->length);

	if (!at)
		return false;
	*taken = (struct span){rest->at, at - rest->at};
	rest->length -= taken->length + 1;
	rest->at = at + 1;
	return true;
}

static struct span trimmed(struct span span)
{
	while (span.length && (*span.at == ' ' || *span.at == '\t'))
		span.at++, span.length--;
	while (span.length && (span.at[span.length - 1] == ' ' || span.at[span.length - 1] == '\t'))
		span.length--;
	return span;
}

/* Whether a comma-separated list has a word. */
static bool lists(struct span list, const char *word)
{
	struct span one;

	while (take_until(&list, ',', &one))
		if (is(trimmed(one), word))
			return true;
	return is(trimmed(list), word);
}

/* One or more digits and nothing else. */
static bool to_number(struct span span, uint64_t *number)
{
	*number = 0;
	for (size_t i = 0; i < span.length; i++) {
		if (span.at[i] < '0' || span.at[i] > '9')
			return false;
		if (*number <= MAX_BODY) /* larger is too large, whatever follows */
			*number = *number * 10 + span.at[i] - '0';
	}
	return span.length;
}

/* What a header changes; the status that it makes of the request, or 0. */
static unsigned int read_header(struct span name, struct span value, struct headers *headers)
{
	if (is(name, "host")) {
		if (headers->host)
			return 400;
		headers->host = true;
	} else if (is(name, "content-length")) {
		if (headers->length || !to_number(value, &headers->body))
			return 400;
		headers->length = true;
	} else if (is(name, "transfer-encoding")) {
		if (headers->chunked)
			return 400;
		if (!is(value, "chunked"))
			return 501;
		headers->chunked = true;
	} else if (is(name, "connection")) {
		headers->close |= lists(value, "close");
		headers->keep_alive |= lists(value, "keep-alive");
	} else if (is(name, "expect")) {
		if (!is(value, "100-continue"))
			return 417;
		headers->expect = true;
	}
	return 0;
}

static unsigned int read_headers(struct span rest, struct headers *headers)
{
	struct span line, name;

	while (take_until(&rest, '\n', &line)) {
		if (!line.length || line.at[--line.length] != '\r')
			return 400;
		if (!line.length) /* the head's end */
			return 0;
		if (!take_until(&line, ':', &name) || !name.length)
			return 400;
		for (size_t i = 0; i < name.length; i++)
			if (!is_token(name.at[i])) /* a fold, too: it starts with a space */
				return 400;
		for (size_t i = 0; i < line.length; i++)
			if ((unsigned char)line.at[i] < ' ' && line.at[i] != '\t')
				return 400;

		unsigned int status = read_header(name, trimmed(line), headers);

		if (status)
			return status;
	}
	return 400;
}

/* METHOD SP TARGET SP HTTP/1.x CRLF */
static unsigned int read_line(struct span line, struct request *request)
{
	struct span method, target;

	if (!line.length || line.at[--line.length] != '\r' || !take_until(&line, ' ', &method) ||
	    !take_until(&line, ' ', &target) || !method.length || !target.length)
		return 400;
	for (size_t i = 0; i < method.length; i++)
		if (!is_token(method.at[i]))
			return 400;
	for (size_t i = 0; i < target.length; i++)
		if ((unsigned char)target.at[i] <= ' ' || target.at[i] == 0x7f)
			return 400;
	if (line.length != 8 || memcmp(line.at, "HTTP/", 5) || line.at[6] != '.' ||
	    line.at[5] < '0' || line.at[5] > '9' || line.at[7] < '0' || line.at[7] > '9')
		return 400;
	if (line.at[5] != '1')
		return 505;
	request->old = line.at[7] == '0';
	request->only_head = method.length == 4 && !memcmp(method.at, "HEAD", 4);
	if (request->only_head || (method.length == 3 && !memcmp(method.at, "GET", 3)) ||
	    (method.length == 4 && !memcmp(method.at, "POST", 4)))
		return 200;
	return 501;
}

bool http_read_head(struct request *request, const char *at, size_t length)
{
	struct span head = {at, length};
	struct headers headers = {0};
	struct span line = {0};

	take_until(&head, '\n', &line); /* a whole head has line ends */
	request->status = read_line(line, request);

	unsigned int wrong = request->status == 400 || request->status == 505
				 ? request->status
				 : read_headers(head, &headers);

	if (!wrong && ((headers.length || request->old) && headers.chunked))
		wrong = 400;
	if (!wrong && !request->old && !headers.host)
		wrong = 400;
	if (!wrong && headers.body > MAX_BODY)
		wrong = 413;
	if (wrong) { /* where the next request would begin is not known */
		request->status = wrong;
		request->close = true;
		return false;
	}
	request->close =
	    headers.close || options.keep_alive == KEEP_OFF ||
	    ((request->old || options.keep_alive == KEEP_ASKED) && !headers.keep_alive);
	request->left = headers.body;
	if (headers.chunked)
		request->part = CHUNK_SIZE;
	else if (headers.body)
		request->part = BODY;
	return headers.expect && !request->old && request->part != HEAD;
}

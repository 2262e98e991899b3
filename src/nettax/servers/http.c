// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.1 (RFC 9112) as far as a server needs it that answers every target alike: framing is
 * checked strictly, for what two readers of one request may take differently is refused.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server.h"

#define MAX_BODY  (16ULL << 20) /* of a request: read and thrown away */
#define MAX_DIGIT 15		/* of a chunk's size */
#define DATE_ROOM 40

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

/* Read a whole head: what it says of the body that follows, and with what it is answered. */
static void read_head(struct connection *connection, struct span head)
{
	struct request *request = &connection->request;
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
		return;
	}
	request->close =
	    headers.close || options.keep_alive == KEEP_OFF ||
	    ((request->old || options.keep_alive == KEEP_ASKED) && !headers.keep_alive);
	request->left = headers.body;
	if (headers.chunked)
		request->part = CHUNK_SIZE;
	else if (headers.body)
		request->part = BODY;
	if (headers.expect && !request->old && request->part != HEAD) {
		static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

		connection_put(connection, go_on, sizeof(go_on) - 1);
	}
}

static const char *reason(unsigned int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 417:
		return "Expectation Failed";
	case 431:
		return "Request Header Fields Too Large";
	case 501:
		return "Not Implemented";
	case 505:
		return "HTTP Version Not Supported";
	}
	return "Bad Request";
}

/* The date as RFC 9110, section 6.6.1, wants it of a server with a clock; made once a second. */
static const char *date(void)
{
	static __thread char text[DATE_ROOM];
	static __thread time_t made;
	struct timespec now;
	struct tm parts;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != made) {
		made = now.tv_sec;
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&made, &parts));
	}
	return text;
}

static void respond(struct connection *connection)
{
	struct request *request = &connection->request;
	bool fine = request->status == 200;
	uint64_t body = fine ? options.body : 0;
	char *out = connection->out + connection->out_used;

	if (fine)
		connection_toil();
	connection->answered++;
	if (options.max_requests && connection->answered >= options.max_requests)
		request->close = true;
	connection->out_used +=
	    snprintf(out, OUT_BYTES - connection->out_used,
		     "HTTP/1.1 %u %s\r\nServer: nettax\r\nDate: %s\r\nContent-Type: text/plain\r\n"
		     "Content-Length: %llu\r\n%s\r\n",
		     request->status, reason(request->status), date(), (unsigned long long)body,
		     request->close ? "Connection: close\r\n"
		     : request->old ? "Connection: keep-alive\r\n"
				    : "");
	count(fine ? &stats->requests : &stats->refused, 1);
	connection->closing = request->close;
	connection->body_left = request->only_head ? 0 : body;

	struct request next = {.status = connection->closing ? request->status : 0};

	*request = next;
}

/* The end of a line in the input, or NULL. */
static char *line_end(const struct connection *connection)
{
	const char *at = connection->in + connection->in_taken;

	return memchr(at, '\n', connection->in_used - connection->in_taken);
}

static void refuse(struct connection *connection, unsigned int status)
{
	connection->request.status = status;
	connection->request.close = true;
	respond(connection);
}

/* A head is whole, too long, or not there yet: false. */
static bool step_head(struct connection *connection)
{
	struct request *request = &connection->request;
	char *start = connection->in + connection->in_taken;
	size_t length = connection->in_used - connection->in_taken;

	if (length >= 2 && start[0] == '\r' && start[1] == '\n') {
		connection->in_taken +=
		    2; /* RFC 9112, section 2.2: before a request, let it pass */
		request->scanned = 0;
		return true;
	}

	size_t from = request->scanned > 3 ? request->scanned - 3 : 0;
	char *end = length > from ? memmem(start + from, length - from, "\r\n\r\n", 4) : NULL;

	if (end) {
		struct span head = {start, end + 4 - start};

		connection->in_taken += head.length;
		request->scanned = 0;
		read_head(connection, head);
		if (request->part == HEAD)
			respond(connection);
		return true;
	}
	request->scanned = length;
	if (length < IN_BYTES)
		return false;
	refuse(connection, memchr(start, '\n', length) ? 431 : 414);
	return true;
}

static bool step_chunk_size(struct connection *connection)
{
	struct request *request = &connection->request;
	char *start = connection->in + connection->in_taken, *end = line_end(connection);
	uint64_t size = 0;
	int digits = 0;

	if (!end && connection->in_used - connection->in_taken < 256)
		return false;
	for (; end && digits <= MAX_DIGIT; digits++) {
		char c = start[digits] | 0x20; /* lower case */

		if (c >= '0' && c <= '9' && start[digits] == c)
			size = size * 16 + c - '0';
		else if (c >= 'a' && c <= 'f')
			size = size * 16 + c - 'a' + 10;
		else
			break;
	}
	/* One CR only, where the line ends; in front of it nothing but an extension, behind space.
	 */
	if (!digits || digits > MAX_DIGIT || memchr(start, '\r', end - start) != end - 1 ||
	    !memchr(";\r \t", start[digits], 4)) {
		refuse(connection, 400);
		return true;
	}
	connection->in_taken += end + 1 - start;
	request->body += size;
	request->left = size;
	request->part = size ? CHUNK_DATA : TRAILER;
	if (request->body > MAX_BODY)
		refuse(connection, 413);
	return true;
}

/* The lines behind the last chunk are of no interest here; an empty one ends them. */
static bool step_trailer(struct connection *connection)
{
	char *start = connection->in + connection->in_taken, *end = line_end(connection);

	if (!end) {
		if (connection->in_used - connection->in_taken < IN_BYTES)
			return false;
		refuse(connection, 431);
		return true;
	}
	connection->in_taken += end + 1 - start;
	connection->request.left += end + 1 - start;
	if (end == start || end[-1] != '\r')
		refuse(connection, 400);
	else if (connection->request.left > IN_BYTES)
		refuse(connection, 431);
	else if (end == start + 1)
		respond(connection);
	return true;
}

/* Bytes of a body: read and thrown away. */
static bool step_body(struct connection *connection)
{
	struct request *request = &connection->request;
	size_t length = connection->in_used - connection->in_taken;

	if (length > request->left)
		length = request->left;
	connection->in_taken += length;
	request->left -= length;
	if (request->left)
		return false;
	if (request->part == BODY)
		respond(connection);
	else
		request->part = CHUNK_END;
	return true;
}

static bool step_chunk_end(struct connection *connection)
{
	char *at = connection->in + connection->in_taken;

	if (connection->in_used - connection->in_taken < 2)
		return false;
	if (at[0] != '\r' || at[1] != '\n') {
		refuse(connection, 400);
		return true;
	}
	connection->in_taken += 2;
	connection->request.part = CHUNK_SIZE;
	return true;
}

static bool step(struct connection *connection)
{
	switch (connection->request.part) {
	case HEAD:
		return step_head(connection);
	case CHUNK_SIZE:
		return step_chunk_size(connection);
	case CHUNK_END:
		return step_chunk_end(connection);
	case TRAILER:
		return step_trailer(connection);
	case BODY:
	case CHUNK_DATA:
		return step_body(connection);
	}
	return false;
}

void http_answer(struct connection *connection)
{
	while (!connection->closing && !connection->body_left && connection_has_room(connection) &&
	       step(connection)) {
		/* Small bodies go along, so that one system call answers many requests. */
		if (connection->body_left && connection->body_left <= SMALL_BODY &&
		    !options.two_writes) {
			connection_put_body(connection);
		}
	}
}

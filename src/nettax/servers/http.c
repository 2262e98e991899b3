// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.1 (RFC 9112) as far as a server needs it that answers every target alike: framing is
 * checked strictly, for what two readers of one request may take differently is refused.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "server.h"

#define MAX_DIGIT 15 /* of a chunk's size */
#define DATE_ROOM 40

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
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
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
		size_t head = end + 4 - start;

		connection->in_taken += head;
		request->scanned = 0;
		if (http_read_head(request, start, head))
			connection_put(connection, go_on, sizeof(go_on) - 1);
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

/* SPDX-License-Identifier: Apache-2.0 */
/* Where one HTTP/1.1 answer ends (RFC 9112, section 6.3), from bytes as they come. */
#ifndef NETTAX_LOAD_HTTP_H
#define NETTAX_LOAD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD 8192

enum http_state { HTTP_HEADERS, HTTP_BODY, HTTP_CHUNK, HTTP_CHUNK_END, HTTP_TRAILER, HTTP_TO_END };

struct http_answer {
	enum http_state state;
	unsigned int status;
	bool old; /* HTTP/1.0 */
	bool close;
	bool chunked;
	bool sized;
	uint64_t left; /* of the body or the chunk */
	size_t kept;   /* bytes of a head or a line that came so far */
	char head[HTTP_HEAD];
};

/* An answer's end was found, more must come, or it is none. */
enum http_verdict { HTTP_WHOLE, HTTP_MORE, HTTP_WRONG };

/* Take bytes; of HTTP_WHOLE, `*taken` of them are this answer's. */
enum http_verdict http_take(struct http_answer *answer, const char *bytes, size_t length,
			    size_t *taken, bool no_body);

/* The peer has closed: whether that is the end of an answer. */
bool http_ends(const struct http_answer *answer);

/* Be ready for the next answer. */
static inline void http_next(struct http_answer *answer)
{
	answer->state = HTTP_HEADERS;
	answer->kept = 0;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests of HTTP/1.1 (RFC 9112), read from bytes. No more of the kernel than memchr() and
 * strncasecmp() is used, so that the same text can be tested and fuzzed as a program.
 */
#ifndef NETTAX_REQUEST_H
#define NETTAX_REQUEST_H

#ifdef __KERNEL__
#include <linux/string.h>
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>
#endif

#define REQUEST_BODY_MOST (1024UL * 1024) /* bytes */

/* A search for the end of a head, which goes on where it was as more bytes come. */
struct head_search {
	size_t seen; /* bytes */
	size_t line; /* where the line that they end in begins */
};

/* Finds how long the head is, its last empty line included; 0: not all is there; -1: no HTTP. */
long head_end(struct head_search *search, const char *bytes, size_t count);

struct request {
	int status;	 /* to answer with, once its body has been read */
	bool old;	 /* HTTP/1.0 */
	bool head_only;	 /* HEAD */
	bool keep_alive; /* after the answer */
	bool says_close;
	bool says_keep;
	bool expects_continue;
	bool chunked;
	bool has_length;
	unsigned long length; /* of its body, when it is not chunked */
	unsigned int hosts;
};

/* Reads a whole head. Gives 0, or the status to refuse it with, after which to close. */
int request_parse(struct request *request, const char *head, size_t length);

/* A body that is passed over; begins as { .left = request.length, .chunked = …}. */
struct body {
	bool chunked;
	unsigned long left; /* bytes of the body, or of this chunk */
	unsigned long all;  /* bytes of chunks so far */
	unsigned int part;  /* of a chunk; see request.c */
	unsigned int count; /* bytes of this part that must be few */
};

/* Passes over bytes, up to the body's end: how many. Negative: the status to refuse it with. */
long body_pass(struct body *body, const char *bytes, size_t count);
bool body_ended(const struct body *body);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The open-loop requester: its page, and what its two halves share. */
#ifndef NETTAX_LOAD_OPEN_H
#define NETTAX_LOAD_OPEN_H

#include <stdbool.h>

#include "load.h"
#include "load_http.h"

#define BATCH	     64 /* requests that were due before now, in one system call */
#define MAX_REQUEST  16384
#define REPLY	     65536
#define RECONNECT_NS 10000000ULL /* after a connection failed */
#define LOOK_NS	     100000000ULL

enum open_protocol { OPEN_ECHO, OPEN_HTTP };

/* Written in Python before the start, but for `limit_ns`, which ends the run when it is made 0. */
struct open_loop {
	struct load_address address;
	uint32_t protocol;
	uint32_t connections;
	uint32_t depth; /* requests on one connection that wait for their answers */
	uint32_t request_bytes;
	uint32_t no_body; /* answers have none: HEAD */
	uint32_t poisson; /* exponential times between requests, else all the same */
	uint32_t lone;	  /* a connection serves one request only */
	uint32_t started;
	uint64_t interval_ps; /* from one request to the next; 0: as soon as a connection is free */
	uint64_t seed;
	uint64_t limit_ns;
	uint64_t drain_ns; /* how long to wait for the last answers */
	/* Results, which only grow. */
	uint64_t due; /* requests that the schedule had by now */
	uint64_t sent;
	uint64_t answered;
	uint64_t unanswered; /* sent, and their connection failed or the time was over */
	uint64_t connects;
	uint64_t sent_bytes;
	uint64_t received_bytes;
	uint64_t malformed;    /* what came was no answer */
	uint64_t closed_early; /* by the peer, with answers outstanding */
	uint64_t wall_ns;
	uint64_t cpu_ns;
	uint64_t statuses[6]; /* HTTP: 1xx … 5xx by their first digit */
	uint64_t connect_errors[LOAD_ERRNOS];
	uint64_t errors[LOAD_ERRNOS];
	struct load_histogram latency; /* from when it was due */
	struct load_histogram service; /* from when it was sent */
	char request[MAX_REQUEST];
};

_Static_assert(offsetof(struct open_loop, interval_ps) == 168 &&
		   offsetof(struct open_loop, statuses) == 288 &&
		   sizeof(struct open_loop) == 288 + 48 + 2 * 134 * 8 + 2 * 2432 * 8 + 16384,
	       "nettax/load/open_loop.py has this layout too");

struct asked {
	uint64_t due_ns, sent_ns;
};

struct peer {
	int fd;
	bool connecting;
	bool queued;		 /* among those that are free */
	uint32_t first, waiting; /* a ring of requests without an answer */
	size_t unsent;		 /* bytes that the socket had no room for */
	size_t back;		 /* of an echo */
	uint64_t retry_ns;
	struct http_answer *answer;
	struct asked *asked;
};

struct run {
	struct open_loop *page;
	struct peer *peers;
	uint32_t *free; /* a ring of those that can send */
	uint32_t free_first, free_count;
	uint32_t closed; /* connections to be opened again */
	bool blocks;	 /* a lone connection in a closed loop waits in recv(2) */
	int epoll;
	uint64_t start, cpu_start, planned_end, next_due;
	uint64_t remainder_ps;
	uint64_t random;
	char reply[REPLY];
};

/* load_peer.c: connections, and what comes back on them. */

/* Have a connection among those that can send, if it can. */
void open_make_free(struct run *run, uint32_t i);

/* Open those that are closed, but for those that failed a moment ago. */
void open_closed(struct run *run, uint64_t now);

/* Send what is left of the requests that are outstanding; false where the connection failed. */
bool open_flush(struct run *run, uint32_t i);

void open_receive(struct run *run, uint32_t i);

/* What epoll(7) told of a connection. */
void open_handle(struct run *run, uint32_t i, uint32_t events);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams on a schedule, numbered and stamped, and who takes them: what both ends share.
 *
 * They meet in one page, or, where the receiver is a server (the sink), by two questions: before
 * the first datagram the sender says what it will send, and after the last it asks what came.
 */
#ifndef NETTAX_LOAD_UDP_H
#define NETTAX_LOAD_UDP_H

#include "load.h"

#define BATCH	  64
#define ROOM	  (8 << 20)  /* of either socket, as far as net.core.[rw]mem_max lets */
#define QUESTION  UINT64_MAX /* in place of a number */
#define TOKEN_BIT 48	     /* numbers are below: above is which flow of its sink it is */

struct header {
	uint64_t sequence;
	uint64_t sent_ns;
};

/*
 * What a question begins with; it is as long as its answer, so that nobody can have a sink send
 * more to a third party than it was sent.
 */
struct question {
	uint64_t mark; /* QUESTION */
	uint64_t token;
	uint64_t bytes; /* of the datagrams to come; 0: what came? */
};

struct answer {
	uint64_t token;
	uint64_t bytes; /* as asked */
	uint64_t received;
	uint64_t duplicates;
	uint64_t reordered;
	uint64_t foreign;
	struct load_histogram transit;
};

/* One page for both ends; each has its own process. */
struct udp_flow {
	struct load_address address;
	uint32_t bytes; /* of payload, the header included */
	uint32_t batch; /* at most so many a system call, of those that are due */
	uint64_t interval_ps;
	uint64_t limit_ns; /* Python ends the sender by making it 0 */
	uint32_t listening;
	uint32_t sender_ended;
	uint32_t port; /* of the receiver */
	uint32_t asks; /* the sender: its receiver is a sink */
	/* The sender's. */
	uint64_t sent;
	uint64_t calls;
	uint64_t wall_ns;
	uint64_t sender_cpu_ns;
	uint64_t send_errors[LOAD_ERRNOS];
	/* The receiver's. */
	uint64_t received;
	uint64_t duplicates;
	uint64_t reordered; /* came after one that was sent later */
	uint64_t foreign;   /* of another size, or flow */
	uint64_t receiver_cpu_ns;
	struct load_histogram late; /* from when one was due until it was sent */
	struct load_histogram transit;
};

_Static_assert(offsetof(struct udp_flow, sent) == 176 &&
		   sizeof(struct udp_flow) == 176 + 4 * 8 + 134 * 8 + 5 * 8 + 2 * 2432 * 8,
	       "nettax/load/udp.py has this layout too");

static inline int open_socket(const struct load_address *address, int option)
{
	int room = ROOM, fd = load_socket(address, SOCK_DGRAM);

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, option, &room, sizeof(room));
	return fd;
}

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The socket that takes numbered datagrams: which came, which were lost, late or in another order,
 * and how long each was on its way (on one host: both ends read one clock).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "load_udp.h"

#define STILL_MS  200	    /* without a datagram, once the sender has ended: all have come */
#define SEQUENCES (1 << 16) /* the last ones, of which each is known to have come or not */

struct seen {
	uint64_t token;
	uint64_t highest; /* sequence + 1 */
	uint64_t marks[SEQUENCES / 64];
};

/* Numbers are marked in a ring; those of a turn before are cleared as the highest moves on. */
static void note(struct udp_flow *flow, struct seen *seen, const struct header *header,
		 uint64_t now)
{
	uint64_t sequence = header->sequence & ((1ULL << TOKEN_BIT) - 1),
		 bit = 1ULL << (sequence % 64);
	uint64_t *word = &seen->marks[sequence % SEQUENCES / 64];

	if (sequence >= seen->highest) {
		uint64_t from = seen->highest;

		if (sequence - from >= SEQUENCES) {
			memset(seen->marks, 0, sizeof(seen->marks));
			from = sequence;
		}
		for (; from <= sequence; from++)
			seen->marks[from % SEQUENCES / 64] &= ~(1ULL << (from % 64));
		seen->highest = sequence + 1;
	} else if (*word & bit) {
		load_count(&flow->duplicates, 1);
		return;
	} else {
		load_count(&flow->reordered, 1);
	}
	*word |= bit;
	load_count(&flow->received, 1);
	load_record(&flow->transit, now > header->sent_ns ? now - header->sent_ns : 0, 1);
}

/* What a datagram begins with: all of a question. */
union beginning {
	struct header header;
	struct question question;
};

static bool is_question(const union beginning *begins, uint32_t bytes)
{
	return bytes == sizeof(struct answer) && begins->question.mark == QUESTION;
}

/* Answer it; a new flow begins at 0. */
static void answer(struct udp_flow *flow, int fd, struct seen *seen,
		   const struct question *question, const struct sockaddr_storage *from,
		   socklen_t length)
{
	static struct answer told;

	if (question->bytes && question->token != seen->token) {
		memset(seen, 0, sizeof(*seen));
		seen->token = question->token;
		flow->bytes = question->bytes;
		flow->received = flow->duplicates = flow->reordered = flow->foreign = 0;
		memset(&flow->transit, 0, sizeof(flow->transit));
	}
	told.token = question->token;
	told.bytes = question->bytes;
	told.received = flow->received;
	told.duplicates = flow->duplicates;
	told.reordered = flow->reordered;
	told.foreign = flow->foreign;
	told.transit = flow->transit;
	if (question->token == seen->token)
		sendto(fd, &told, sizeof(told), 0, (const struct sockaddr *)from, length);
}

static void receive(struct udp_flow *flow, int fd, struct seen *seen, bool answers)
{
	union beginning begin[BATCH];
	struct sockaddr_storage from[BATCH];
	struct iovec pieces[BATCH];
	struct mmsghdr messages[BATCH];
	int got;

	for (int i = 0; i < BATCH; i++) {
		pieces[i] = (struct iovec){&begin[i], sizeof(begin[i])};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &pieces[i], .msg_iovlen = 1}};
		if (answers) {
			messages[i].msg_hdr.msg_name = &from[i];
			messages[i].msg_hdr.msg_namelen = sizeof(from[i]);
		}
	}
	/* MSG_TRUNC: the whole length is told, though only the beginning is copied. */
	got = recvmmsg(fd, messages, BATCH, MSG_TRUNC, NULL);

	uint64_t now = load_clock();

	for (int i = 0; i < got; i++) {
		if (answers && is_question(&begin[i], messages[i].msg_len))
			answer(flow, fd, seen, &begin[i].question, &from[i],
			       messages[i].msg_hdr.msg_namelen);
		else if (messages[i].msg_len == flow->bytes &&
			 begin[i].header.sequence >> TOKEN_BIT == seen->token)
			note(flow, seen, &begin[i].header, now);
		else
			load_count(&flow->foreign, 1);
	}
}

/* The receiver's socket, bound; its port is told in the page. -1 with errno set. */
static int bound(struct udp_flow *flow)
{
	struct sockaddr_storage at;
	socklen_t length = sizeof(at);
	int fd = open_socket(&flow->address, SO_RCVBUF);

	if (fd < 0 || bind(fd, (struct sockaddr *)flow->address.bytes, flow->address.length) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &length) < 0)
		return -1;
	/* IPv4 and IPv6 have it at the same place. */
	flow->port = ntohs(((struct sockaddr_in *)&at)->sin_port);
	__atomic_store_n(&flow->listening, 1, __ATOMIC_RELEASE);
	return fd;
}

/* Take what comes until the sender has ended and nothing more comes; 0, or an errno. */
int nettax_load_udp_receive(int page_fd)
{
	struct udp_flow *flow = load_map(page_fd, sizeof(*flow));
	struct seen *seen = calloc(1, sizeof(*seen));
	struct pollfd readable = {.events = POLLIN};

	if (!flow || !seen)
		return errno;
	readable.fd = bound(flow);
	if (readable.fd < 0)
		return errno;

	uint64_t cpu = load_cpu_clock();

	for (;;) {
		bool ended = __atomic_load_n(&flow->sender_ended, __ATOMIC_ACQUIRE);

		if (poll(&readable, 1, STILL_MS) > 0)
			receive(flow, readable.fd, seen, false);
		else if (ended)
			break;
	}
	load_count(&flow->receiver_cpu_ns, load_cpu_clock() - cpu);
	return 0;
}

/* Python, whose handlers would wait for this to return, is not in the way. */
static void end(int signal)
{
	(void)signal;
	_exit(0);
}

/* A server: take what comes, and answer those who ask what came, until it is told to end; 1. */
int nettax_load_udp_sink(int page_fd)
{
	struct udp_flow *flow = load_map(page_fd, sizeof(*flow));
	struct seen *seen = calloc(1, sizeof(*seen));
	struct pollfd readable = {.events = POLLIN};

	if (!flow || !seen)
		return errno;
	seen->token = UINT64_MAX; /* no flow yet */
	signal(SIGINT, end);
	signal(SIGTERM, end);
	readable.fd = bound(flow);
	if (readable.fd < 0) {
		fprintf(stderr, "nettax: the sink cannot take that address: %s.\n",
			strerror(errno));
		return 1;
	}
	printf("%u\n", flow->port);
	fflush(stdout);
	for (;;) {
		if (poll(&readable, 1, -1) > 0)
			receive(flow, readable.fd, seen, true);
	}
}

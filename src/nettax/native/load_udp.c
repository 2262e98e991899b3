// SPDX-License-Identifier: Apache-2.0
/*
 * Datagrams on a schedule that waits for nobody, numbered and stamped; and the socket that takes
 * them: which came, which were lost, late or in another order, and how long each was on its way
 * (on one host: both ends read one clock).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "load.h"

#define BATCH	  64
#define MAX_BYTES 65507
#define ROOM	  (8 << 20) /* of either socket, as far as net.core.[rw]mem_max lets */
#define SPIN_NS	  60000ULL  /* a due time nearer than this is not slept for */
#define STILL_MS  200	    /* without a datagram, once the sender has ended: all have come */
#define SEQUENCES (1 << 16) /* the last ones, of which each is known to have come or not */

struct header {
	uint64_t sequence;
	uint64_t sent_ns;
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
	uint32_t pad;
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
	uint64_t foreign;   /* of another size */
	uint64_t receiver_cpu_ns;
	struct load_histogram late; /* from when one was due until it was sent */
	struct load_histogram transit;
};

_Static_assert(offsetof(struct udp_flow, sent) == 176 &&
		   sizeof(struct udp_flow) == 176 + 4 * 8 + 134 * 8 + 5 * 8 + 2 * 2432 * 8,
	       "nettax/load/udp.py has this layout too");

static int open_socket(const struct load_address *address, int option)
{
	int room = ROOM, fd = load_socket(address, SOCK_DGRAM);

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, option, &room, sizeof(room));
	return fd;
}

static bool over(const struct udp_flow *flow, uint64_t start, uint64_t now)
{
	return now - start >= __atomic_load_n(&flow->limit_ns, __ATOMIC_RELAXED);
}

static uint64_t due_ns(const struct udp_flow *flow, uint64_t start, uint64_t sequence)
{
	return start + (uint64_t)((unsigned __int128)sequence * flow->interval_ps / 1000);
}

/* Send those that are due, as one system call takes them; how many went. */
static uint32_t send_due(struct udp_flow *flow, int fd, uint64_t start, uint64_t now)
{
	static char payload[MAX_BYTES];
	struct header headers[BATCH];
	struct iovec pieces[BATCH][2];
	struct mmsghdr messages[BATCH];
	uint32_t n = 0;

	for (; n < flow->batch; n++) {
		if (flow->interval_ps && due_ns(flow, start, flow->sent + n) > now)
			break;
		headers[n] = (struct header){flow->sent + n, now};
		pieces[n][0] = (struct iovec){&headers[n], sizeof(headers[n])};
		pieces[n][1] = (struct iovec){payload, flow->bytes - sizeof(headers[n])};
		messages[n] = (struct mmsghdr){
		    .msg_hdr = {.msg_iov = pieces[n], .msg_iovlen = 2},
		};
	}
	if (!n)
		return 0;

	int sent = sendmmsg(fd, messages, n, 0);

	load_count(&flow->calls, 1);
	if (sent < 0) {
		load_error(flow->send_errors, errno);
		return 0;
	}
	for (int i = 0; flow->interval_ps && i < sent; i++)
		load_record(&flow->late, now - due_ns(flow, start, flow->sent + i), 1);
	load_count(&flow->sent, sent);
	return sent;
}

/* Send on schedule until the time is over; 0, or an errno. */
int nettax_load_udp_send(int page_fd)
{
	struct udp_flow *flow = load_map(page_fd, sizeof(*flow));
	int fd;

	if (!flow)
		return errno;
	if (flow->bytes < sizeof(struct header) || flow->bytes > MAX_BYTES || !flow->batch ||
	    flow->batch > BATCH)
		return EINVAL;
	fd = open_socket(&flow->address, SO_SNDBUF);
	if (fd < 0 || connect(fd, (struct sockaddr *)flow->address.bytes, flow->address.length) < 0)
		return errno;

	uint64_t start = load_clock(), cpu = load_cpu_clock(), now = start;

	while (!over(flow, start, now)) {
		uint32_t sent = send_due(flow, fd, start, now);
		uint64_t next = due_ns(flow, start, flow->sent);

		now = load_clock();
		if (!sent && flow->interval_ps && next > now + SPIN_NS) {
			struct timespec rest = {.tv_nsec = next - now - SPIN_NS};

			rest.tv_sec = rest.tv_nsec / NSEC;
			rest.tv_nsec %= NSEC;
			nanosleep(&rest, NULL);
			now = load_clock();
		} else if (!sent && !flow->interval_ps) {
			struct pollfd room = {.fd = fd, .events = POLLOUT};

			poll(&room, 1, 100);
		}
		load_count(&flow->wall_ns, now - start - flow->wall_ns);
	}
	load_count(&flow->sender_cpu_ns, load_cpu_clock() - cpu);
	return 0;
}

struct seen {
	uint64_t highest; /* sequence + 1 */
	uint64_t marks[SEQUENCES / 64];
};

/* Numbers are marked in a ring; those of a turn before are cleared as the highest moves on. */
static void note(struct udp_flow *flow, struct seen *seen, const struct header *header,
		 uint64_t now)
{
	uint64_t sequence = header->sequence, bit = 1ULL << (sequence % 64);
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

static void receive(struct udp_flow *flow, int fd, struct seen *seen)
{
	struct header headers[BATCH];
	struct iovec pieces[BATCH];
	struct mmsghdr messages[BATCH];
	int got;

	for (int i = 0; i < BATCH; i++) {
		pieces[i] = (struct iovec){&headers[i], sizeof(headers[i])};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &pieces[i], .msg_iovlen = 1}};
	}
	/* MSG_TRUNC: the whole length is told, though only the header is copied. */
	got = recvmmsg(fd, messages, BATCH, MSG_TRUNC, NULL);

	uint64_t now = load_clock();

	for (int i = 0; i < got; i++) {
		if (messages[i].msg_len == flow->bytes)
			note(flow, seen, &headers[i], now);
		else
			load_count(&flow->foreign, 1);
	}
}

/* Take what comes until the sender has ended and nothing more comes; 0, or an errno. */
int nettax_load_udp_receive(int page_fd)
{
	struct udp_flow *flow = load_map(page_fd, sizeof(*flow));
	struct seen *seen = calloc(1, sizeof(*seen));
	struct sockaddr_storage at;
	socklen_t length = sizeof(at);
	struct pollfd readable = {.events = POLLIN};

	if (!flow || !seen)
		return errno;
	readable.fd = open_socket(&flow->address, SO_RCVBUF);
	if (readable.fd < 0 ||
	    bind(readable.fd, (struct sockaddr *)flow->address.bytes, flow->address.length) < 0 ||
	    getsockname(readable.fd, (struct sockaddr *)&at, &length) < 0)
		return errno;
	/* IPv4 and IPv6 have it at the same place. */
	flow->port = ntohs(((struct sockaddr_in *)&at)->sin_port);
	__atomic_store_n(&flow->listening, 1, __ATOMIC_RELEASE);

	uint64_t cpu = load_cpu_clock();

	for (;;) {
		bool ended = __atomic_load_n(&flow->sender_ended, __ATOMIC_ACQUIRE);

		if (poll(&readable, 1, STILL_MS) > 0)
			receive(flow, readable.fd, seen);
		else if (ended)
			break;
	}
	load_count(&flow->receiver_cpu_ns, load_cpu_clock() - cpu);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* The sender of datagrams: on a schedule that waits for nobody, numbered and stamped. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "load_udp.h"

#define MAX_BYTES 65507
#define SPIN_NS	  60000ULL /* a due time nearer than this is not slept for */
#define ASK_MS	  100
#define ASKED	  50 /* times, until there is nobody */

static bool over(const struct udp_flow *flow, uint64_t start, uint64_t now)
{
	return now - start >= __atomic_load_n(&flow->limit_ns, __ATOMIC_RELAXED);
}

static uint64_t due_ns(const struct udp_flow *flow, uint64_t start, uint64_t sequence)
{
	return start + (uint64_t)((unsigned __int128)sequence * flow->interval_ps / 1000);
}

/* Send those that are due, as one system call takes them; how many went. */
static uint32_t send_due(struct udp_flow *flow, int fd, uint64_t token, uint64_t start,
			 uint64_t now)
{
	static char payload[MAX_BYTES];
	struct header headers[BATCH];
	struct iovec pieces[BATCH][2];
	struct mmsghdr messages[BATCH];
	uint32_t n = 0;

	for (; n < flow->batch; n++) {
		if (flow->interval_ps && due_ns(flow, start, flow->sent + n) > now)
			break;
		headers[n] = (struct header){token << TOKEN_BIT | (flow->sent + n), now};
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

/* Ask a sink, again and again until it answers; 0, or an errno. What it said before is passed by.
 */
static int ask(int fd, struct question question, struct answer *answer)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	static char asked[sizeof(*answer)];

	memcpy(asked, &question, sizeof(question));
	for (int times = 0; times < ASKED; times++) {
		uint64_t until = load_clock() + ASK_MS * 1000000ULL, now;

		/* The kernel tells a refusal of the last one at the next call. */
		if (send(fd, asked, sizeof(asked), 0) < 0 && errno == ECONNREFUSED)
			return ECONNREFUSED;
		while ((now = load_clock()) < until) {
			if (poll(&readable, 1, (until - now) / 1000000 + 1) <= 0)
				break;
			if (recv(fd, answer, sizeof(*answer), 0) == sizeof(*answer) &&
			    answer->token == question.token && answer->bytes == question.bytes)
				return 0;
			if (errno == ECONNREFUSED)
				return ECONNREFUSED;
		}
	}
	return ETIMEDOUT;
}

static int ask_what_came(struct udp_flow *flow, int fd, uint64_t token)
{
	static struct answer answer;
	int error = ask(fd, (struct question){QUESTION, token, 0}, &answer);

	if (error)
		return error;
	flow->received = answer.received;
	flow->duplicates = answer.duplicates;
	flow->reordered = answer.reordered;
	flow->foreign = answer.foreign;
	flow->transit = answer.transit;
	return 0;
}

static void send_all(struct udp_flow *flow, int fd, uint64_t token)
{
	uint64_t start = load_clock(), cpu = load_cpu_clock(), now = start;

	while (!over(flow, start, now)) {
		uint32_t sent = send_due(flow, fd, token, start, now);
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
}

/* Send on schedule until the time is over; 0, or an errno. */
int nettax_load_udp_send(int page_fd)
{
	struct udp_flow *flow = load_map(page_fd, sizeof(*flow));
	static struct answer ready;
	uint64_t token = 0;
	int fd, error;

	if (!flow)
		return errno;
	if (flow->bytes < sizeof(struct header) || flow->bytes > MAX_BYTES || !flow->batch ||
	    flow->batch > BATCH)
		return EINVAL;
	fd = open_socket(&flow->address, SO_SNDBUF);
	if (fd < 0 || connect(fd, (struct sockaddr *)flow->address.bytes, flow->address.length) < 0)
		return errno;
	if (flow->asks) {
		/* Below QUESTION's, which has all bits. */
		token = load_clock() / 1000 % ((1 << (64 - TOKEN_BIT)) - 1);
		error = ask(fd, (struct question){QUESTION, token, flow->bytes}, &ready);
		if (error)
			return error;
	}
	send_all(flow, fd, token);
	return flow->asks ? ask_what_came(flow, fd, token) : 0;
}

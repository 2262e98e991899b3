// SPDX-License-Identifier: Apache-2.0
/*
 * The echo burst: many connections at once, then rounds in each of which all of them send one
 * message at once. Connecting and echoing are timed apart, for each connection by itself: a
 * connection whose SYN was refused room shows the seconds until it was sent again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

#define EVENTS	    256
#define MAX_MESSAGE 65536
/* While the burst goes out, what has come is looked at after so many: else the first answers would
 * be timed by how long the last calls took. */
#define LOOK_EVERY 8

enum stage { CONNECTING, CONNECTED, FAILED };

struct burst_connection {
	uint64_t start_ns; /* of connect(2), from the burst's start */
	uint64_t connect_ns;
	uint32_t stage;
	uint32_t error;	      /* errno, of FAILED */
	uint32_t syn_retries; /* by TCP_INFO */
	uint32_t retransmits; /* of what was sent afterwards */
};

/* Written in Python before the start; the results behind it. */
struct burst {
	struct load_address address;
	uint32_t connections;
	uint32_t rounds;
	uint32_t message;    /* bytes */
	uint32_t patience_s; /* for all to connect, and for each round */
	uint64_t connected;
	uint64_t echoed;
	uint64_t connect_cpu_ns;
	uint64_t echo_cpu_ns;
	uint64_t echo_wall_ns;
	struct burst_connection each[];
	/* uint64_t echo_ns[rounds][connections]: 0 where none came */
};

_Static_assert(offsetof(struct burst, each) == 192 && sizeof(struct burst_connection) == 32,
	       "nettax/load/burst.py has this layout too");

struct run {
	struct burst *burst;
	int *fds;
	int epoll;
	uint64_t start;
	uint64_t *sent; /* of this round: when, and how much has come back */
	uint32_t *back;
	uint64_t *echo_ns;
	uint32_t waiting;
	char message[MAX_MESSAGE];
	char reply[MAX_MESSAGE];
};

static uint32_t retransmitted(int fd)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ? 0
									 : info.tcpi_total_retrans;
}

static void fail(struct run *run, uint32_t i, int error)
{
	run->burst->each[i].stage = FAILED;
	run->burst->each[i].error = error;
	run->waiting--;
	close(run->fds[i]);
	run->fds[i] = -1;
}

static void connected(struct run *run, uint32_t i, uint64_t now)
{
	struct burst_connection *one = &run->burst->each[i];

	one->stage = CONNECTED;
	one->connect_ns = now - run->start - one->start_ns;
	one->syn_retries = retransmitted(run->fds[i]);
	run->waiting--;
}

static int watch(struct run *run, int operation, uint32_t i, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u32 = i};

	return epoll_ctl(run->epoll, operation, run->fds[i], &event);
}

/* Those that became writable are connected, or have failed. */
static int take_connected(struct run *run, int wait_ms)
{
	struct epoll_event events[EVENTS];
	int ready = epoll_wait(run->epoll, events, EVENTS, wait_ms);
	uint64_t now = load_clock();

	for (int n = 0; n < ready; n++) {
		uint32_t i = events[n].data.u32;
		int error = 0;
		socklen_t length = sizeof(error);

		getsockopt(run->fds[i], SOL_SOCKET, SO_ERROR, &error, &length);
		if (error) {
			fail(run, i, error);
		} else {
			watch(run, EPOLL_CTL_DEL, i, 0);
			connected(run, i, now);
		}
	}
	return ready;
}

static void connect_one(struct run *run, uint32_t i)
{
	const struct load_address *address = &run->burst->address;
	const struct sockaddr *to = (const struct sockaddr *)address->bytes;

	run->burst->each[i].start_ns = load_clock() - run->start;
	if (connect(run->fds[i], to, address->length) < 0 && errno != EINPROGRESS) {
		fail(run, i, errno);
		return;
	}
	/* On this host the handshake is over by now, or waits for a retry: asking again tells. */
	if (!connect(run->fds[i], to, address->length) || errno == EISCONN)
		connected(run, i, load_clock());
	else if (errno != EALREADY || watch(run, EPOLL_CTL_ADD, i, EPOLLOUT) < 0)
		fail(run, i, errno);
}

static void connect_all(struct run *run)
{
	struct burst *burst = run->burst;
	uint64_t cpu = load_cpu_clock(), end;

	run->waiting = burst->connections;
	run->start = load_clock();
	end = run->start + burst->patience_s * NSEC;
	for (uint32_t i = 0; i < burst->connections; i++) {
		connect_one(run, i);
		if (i % LOOK_EVERY == LOOK_EVERY - 1)
			take_connected(run, 0);
	}
	while (run->waiting && load_clock() < end)
		take_connected(run, 100);
	for (uint32_t i = 0; i < burst->connections; i++) {
		if (burst->each[i].stage == CONNECTING)
			fail(run, i, ETIMEDOUT);
		else if (burst->each[i].stage == CONNECTED)
			burst->connected++;
	}
	burst->connect_cpu_ns = load_cpu_clock() - cpu;
}

static void receive(struct run *run, uint32_t i)
{
	ssize_t got = recv(run->fds[i], run->reply, sizeof(run->reply), 0);

	if (got > 0) {
		run->back[i] += got;
		if (run->back[i] >
		    run->burst->message) { /* else the rest is the next echo's time */
			fail(run, i, EBADMSG);
			return;
		}
		if (run->back[i] < run->burst->message)
			return;
		run->echo_ns[i] = load_clock() - run->sent[i];
		run->burst->echoed++;
		run->waiting--;
	} else if (!got || (errno != EAGAIN && errno != EINTR)) {
		fail(run, i, got ? errno : ECONNRESET);
	}
}

static void take_echoes(struct run *run, int wait_ms)
{
	struct epoll_event events[EVENTS];
	int ready = epoll_wait(run->epoll, events, EVENTS, wait_ms);

	for (int n = 0; n < ready; n++)
		receive(run, events[n].data.u32);
}

/* All send, then all wait. */
static void round_of_all(struct run *run)
{
	uint32_t connections = run->burst->connections;
	uint64_t end;

	memset(run->back, 0, connections * sizeof(*run->back));
	run->waiting = 0;
	for (uint32_t i = 0; i < connections; i++) {
		if (run->fds[i] < 0)
			continue;
		run->waiting++;
		run->sent[i] = load_clock();
		if (send(run->fds[i], run->message, run->burst->message, MSG_NOSIGNAL) !=
		    (ssize_t)run->burst->message)
			fail(run, i, errno);
		if (i % LOOK_EVERY == LOOK_EVERY - 1)
			take_echoes(run, 0);
	}
	end = load_clock() + run->burst->patience_s * NSEC;
	while (run->waiting && load_clock() < end)
		take_echoes(run, 100);
	for (uint32_t i = 0; run->waiting && i < connections; i++)
		if (run->fds[i] >= 0 && run->back[i] < run->burst->message)
			fail(run, i, ETIMEDOUT);
}

/* A lone connection waits in recv(2): no call between it and its answer. */
static void round_of_one(struct run *run)
{
	run->back[0] = 0;
	run->waiting = 1;
	run->sent[0] = load_clock();
	if (send(run->fds[0], run->message, run->burst->message, MSG_NOSIGNAL) < 0)
		fail(run, 0, errno);
	while (run->waiting) {
		uint32_t before = run->back[0];

		receive(run, 0);
		if (run->waiting && run->back[0] == before)
			fail(run, 0, ETIMEDOUT); /* SO_RCVTIMEO */
	}
}

static void echo_all(struct run *run)
{
	struct burst *burst = run->burst;
	uint64_t *echo_ns = (uint64_t *)&burst->each[burst->connections];
	uint64_t cpu = load_cpu_clock(), start = load_clock();
	bool lone = burst->connections == 1 && run->fds[0] >= 0;

	for (uint32_t i = 0; i < burst->connections; i++)
		if (!lone && run->fds[i] >= 0)
			watch(run, EPOLL_CTL_ADD, i, EPOLLIN);
	if (lone) {
		struct timeval patience = {.tv_sec = burst->patience_s};

		fcntl(run->fds[0], F_SETFL, 0);
		setsockopt(run->fds[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	}
	for (uint32_t i = 0; i < burst->rounds; i++) {
		run->echo_ns = echo_ns + (size_t)i * burst->connections;
		if (!lone)
			round_of_all(run);
		else if (run->fds[0] >= 0)
			round_of_one(run);
	}
	burst->echo_wall_ns = load_clock() - start;
	burst->echo_cpu_ns = load_cpu_clock() - cpu;
	for (uint32_t i = 0; i < burst->connections; i++)
		if (run->fds[i] >= 0)
			burst->each[i].retransmits =
			    retransmitted(run->fds[i]) - burst->each[i].syn_retries;
}

/* Run the burst that the page describes; 0, or an errno. */
int nettax_load_burst(int page_fd)
{
	struct burst *burst = load_map(page_fd, sizeof(*burst));
	struct run *run = calloc(1, sizeof(*run));

	if (!burst || !run)
		return errno;
	if (!burst->connections || !burst->message || burst->message > MAX_MESSAGE)
		return EINVAL;
	load_raise_files();
	run->burst = burst;
	run->fds = calloc(burst->connections, sizeof(*run->fds));
	run->sent = calloc(burst->connections, sizeof(*run->sent));
	run->back = calloc(burst->connections, sizeof(*run->back));
	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!run->fds || !run->sent || !run->back || run->epoll < 0)
		return errno;
	memset(run->message, 'n', burst->message - 1);
	run->message[burst->message - 1] = '\n';
	for (uint32_t i = 0; i < burst->connections; i++) {
		run->fds[i] = load_socket(&burst->address, SOCK_STREAM);
		if (run->fds[i] < 0)
			return errno;
	}
	connect_all(run);
	echo_all(run);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* One connection: what comes in is answered, what is answered goes out. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

#define PATTERN_BYTES 65536
#define BODY_PIECES   16
#define NSEC	      1000000000ULL

/* Every body is made of this: letters, so that a terminal takes no harm. */
static char pattern[PATTERN_BYTES];

__attribute__((constructor)) static void fill_pattern(void)
{
	for (size_t i = 0; i < PATTERN_BYTES; i++)
		pattern[i] = i % 64 == 63 ? '\n' : 'a' + i % 26;
}

void count_error(enum operation operation, int error)
{
	count(&stats->errors[operation][error > 0 && error < ERRNOS ? error : 0], 1);
}

struct connection *connection_open(int fd, bool shared)
{
	struct connection *connection = malloc(sizeof(*connection));
	int on = 1;

	if (!connection) {
		count_error(ACCEPT, errno);
		close(fd);
		return NULL;
	}
	memset(connection, 0, offsetof(struct connection, in)); /* the buffers need none */
	connection->fd = fd;
	connection->shared = shared;
	if (options.nodelay)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (options.leak) { /* on purpose: to try what looks for leaks */
		char *lost = malloc(options.leak);

		if (lost)
			*(volatile char *)lost = 0;
	}
	count(&stats->accepted, 1);
	return connection;
}

void connection_close(struct connection *connection)
{
	close(connection->fd);
	free(connection);
	count(&stats->closed, 1);
}

void connection_put(struct connection *connection, const char *bytes, size_t length)
{
	memcpy(connection->out + connection->out_used, bytes, length);
	connection->out_used += length;
}

void connection_put_body(struct connection *connection)
{
	connection_put(connection, pattern, connection->body_left);
	connection->body_left = 0;
}

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * NSEC + now.tv_nsec;
}

void connection_toil(void)
{
	if (options.sleep_us) {
		struct timespec rest = {
		    .tv_sec = options.sleep_us / 1000000,
		    .tv_nsec = options.sleep_us % 1000000 * 1000L,
		};

		while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
			;
	}
	if (options.work_us) {
		uint64_t end = cpu_ns() + options.work_us * 1000ULL;

		while (cpu_ns() < end)
			;
	}
}

static void set_cork(struct connection *connection, int on)
{
	setsockopt(connection->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
	connection->corked = on;
}

/* What goes into the next system call: the output, and the body behind it. */
static int gather(const struct connection *connection, struct iovec *pieces)
{
	uint64_t left = connection->body_left;
	size_t unsent = connection->out_used - connection->out_sent;
	int n = 0;

	if (unsent)
		pieces[n++] = (struct iovec){
		    .iov_base = (char *)connection->out + connection->out_sent,
		    .iov_len = unsent,
		};
	if (unsent && options.two_writes)
		return n;
	/* Each piece from where the last ended, whichever system calls they are in. */
	for (size_t at = (options.body - left) % PATTERN_BYTES; left && n < BODY_PIECES; at = 0) {
		size_t length = left < PATTERN_BYTES - at ? left : PATTERN_BYTES - at;

		pieces[n++] = (struct iovec){.iov_base = pattern + at, .iov_len = length};
		left -= length;
	}
	return n;
}

/* Send what is to be sent: 0, or an errno. */
static int flush(struct connection *connection)
{
	struct iovec pieces[BODY_PIECES];
	struct msghdr message = {.msg_iov = pieces};

	while ((message.msg_iovlen = gather(connection, pieces))) {
		if (options.cork && !connection->corked)
			set_cork(connection, 1);

		ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno == EINTR)
				continue;
			return errno;
		}
		count(&stats->sent_bytes, sent);

		size_t unsent = connection->out_used - connection->out_sent;
		size_t of_output = (size_t)sent < unsent ? (size_t)sent : unsent;

		connection->out_sent += of_output;
		connection->body_left -= sent - of_output;
		if (connection->out_sent == connection->out_used)
			connection->out_sent = connection->out_used = 0;
	}
	if (connection->corked)
		set_cork(connection, 0);
	return 0;
}

static void echo_answer(struct connection *connection)
{
	size_t length = connection->in_used - connection->in_taken;
	size_t room = OUT_BYTES - connection->out_used;

	if (!length)
		return;
	if (!connection->half) {
		connection_toil();
		count(&stats->requests, 1);
	}
	connection->half = options.two_writes && !connection->half && length > 1;
	if (connection->half)
		length /= 2;
	if (length > room)
		length = room;
	connection_put(connection, connection->in + connection->in_taken, length);
	connection->in_taken += length;
}

static void answer(struct connection *connection)
{
	if (connection->lingering) {
		connection->in_taken = connection->in_used;
		return;
	}
	if (options.protocol == ECHO)
		echo_answer(connection);
	else
		http_answer(connection);
	if (connection->in_taken == connection->in_used) {
		connection->in_taken = connection->in_used = 0;
	} else if (connection->in_taken) {
		connection->in_used -= connection->in_taken;
		memmove(connection->in, connection->in + connection->in_taken, connection->in_used);
		connection->in_taken = 0;
	}
}

/*
 * All is sent and no more is to come. With input unread, close(2) would send a reset, and that
 * may take our answer away from the peer (RFC 9112, section 9.6): so close our side only.
 */
static enum want finish(struct connection *connection)
{
	if (!connection->in_used && connection->request.status < 400)
		return DONE;
	connection->closing = false;
	connection->lingering = true;
	connection->in_used = 0;
	shutdown(connection->fd, SHUT_WR);
	return WANT_READ;
}

/* Answer and send until there is nothing more to answer. */
static enum want pump(struct connection *connection)
{
	for (;;) {
		int error = flush(connection);

		if (error == EAGAIN && connection->shared)
			return WANT_WRITE;
		if (error) { /* EAGAIN of one that blocks: the peer took nothing for too long */
			if (error == EAGAIN)
				count(&stats->idle, 1);
			else
				count_error(SEND, error);
			return DONE;
		}
		if (connection->closing)
			return finish(connection);
		answer(connection);
		if (!connection->out_used && !connection->body_left && !connection->closing)
			return WANT_READ;
	}
}

enum want connection_turn(struct connection *connection, bool readable)
{
	enum want want = pump(connection);

	if (want != WANT_READ || !readable)
		return want;

	ssize_t got = recv(connection->fd, connection->in + connection->in_used,
			   IN_BYTES - connection->in_used, 0);

	if (got > 0) {
		count(&stats->received_bytes, got);
		connection->in_used += got;
		return pump(connection);
	}
	if (got < 0 && (errno == EINTR || (errno == EAGAIN && connection->shared)))
		return WANT_READ;
	if (got < 0 && errno == EAGAIN)
		count(&stats->idle, 1);
	else if (got < 0)
		count_error(RECEIVE, errno);
	return DONE;
}

/*
 * The client of what a guest counts: fixed numbers of operations against a server on this host's
 * loopback, between two readings of the clock, and between two marks for QEMU's plugin.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "qemu/count.h"

#define ALIGN_S	    100
#define TIME_WAIT_S 60	/* TCP_TIMEWAIT_LEN of include/net/tcp.h */
#define WARM	    100 /* operations that are not counted */
#define SLICES	    50
#define ANSWER	    65536

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

enum operation { CONNECTION, ROUND_TRIP, REQUEST_ANSWER };

static struct sockaddr_in server;
static char answer[ANSWER + 1];
static size_t expected; /* bytes of an answer */

/* An instruction that does nothing, with the phase's number in it. */
#ifdef __x86_64__
#define MARK(n)                                                                                    \
	case n:                                                                                    \
		__asm__ volatile(".byte 0x66, 0x0f, 0x1f, 0x84, 0x00, 'T', 'T', 'N', " #n ::       \
				     : "memory");                                                  \
		break;
#else
#define MARK(n)
#endif

static void enter(int phase)
{
	switch (phase) {
		MARK(0)
		MARK(1)
		MARK(2)
		MARK(3)
		MARK(4)
		MARK(5)
		MARK(6)
		MARK(7)
	}
}

static int connected(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&server, sizeof(server))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int said(int fd, const char *what, size_t size, size_t back)
{
	size_t got = 0;
	ssize_t more;

	if (send(fd, what, size, MSG_NOSIGNAL) != (ssize_t)size)
		return -1;
	for (; got < back; got += more) {
		more = recv(fd, answer + got, back - got, 0);
		if (more <= 0) {
			errno = more ? errno : ECONNRESET;
			return -1;
		}
	}
	return 0;
}

/* How long an answer is: its head and what that says of its body. */
static int learn(int fd)
{
	const char *end = NULL, *length;
	size_t got = 0;
	ssize_t more;

	if (send(fd, REQUEST, sizeof(REQUEST) - 1, MSG_NOSIGNAL) < 0)
		return -1;
	while (!end && got < ANSWER) {
		more = recv(fd, answer + got, ANSWER - got, 0);
		if (more <= 0) {
			errno = more ? errno : ECONNRESET;
			return -1;
		}
		got += more;
		answer[got] = 0;
		end = strstr(answer, "\r\n\r\n");
	}
	length = end ? strcasestr(answer, "\r\nContent-Length:") : NULL;
	if (!length || strncmp(answer, "HTTP/1.1 200", 12)) {
		errno = EPROTO;
		return -1;
	}
	expected = end + 4 - answer + strtoul(length + 17, NULL, 10);
	if (expected > ANSWER) {
		errno = EMSGSIZE;
		return -1;
	}
	for (; got < expected; got += more) {
		more = recv(fd, answer, expected - got, 0);
		if (more <= 0)
			return -1;
	}
	return 0;
}

static int perform(enum operation what, int fd, long count)
{
	int each, failed;

	while (count--) {
		each = what == CONNECTION ? connected() : fd;
		if (each < 0)
			return -1;
		failed = what == REQUEST_ANSWER ? said(each, REQUEST, sizeof(REQUEST) - 1, expected)
						: said(each, "?", 1, 1);
		if (what == CONNECTION)
			close(each);
		if (failed)
			return -1;
	}
	return 0;
}

/*
 * Have the kernel hold one connection more, of this process with itself, and a byte in it that
 * nobody reads: all caches of objects that an operation takes from stand a little further on.
 */
static int weigh_down(int listener)
{
	struct sockaddr_in at;
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || getsockname(listener, (struct sockaddr *)&at, &size) ||
	    connect(fd, (struct sockaddr *)&at, size) || accept(listener, NULL, NULL) < 0)
		return -1;
	return send(fd, "?", 1, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/*
 * Until no connection of before is in TIME_WAIT any more, at a multiple of so many seconds, so that
 * the kernel's ticks are where they are in each run.
 */
static void align(void)
{
	int64_t gone = now() / 1000000000 + TIME_WAIT_S + 1;
	struct timespec until = {.tv_sec = (gone / ALIGN_S + 1) * ALIGN_S};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/*
 * Some operations that are not counted, so that nothing has to come from the host any more. Gives
 * the connection that they were on, or 0 where each has one of its own.
 */
static int warmed(enum operation what)
{
	int fd = 0;

	if (what != CONNECTION) {
		fd = connected();
		if (fd < 0 || (what == REQUEST_ANSWER && learn(fd)))
			return -1;
	}
	return perform(what, fd, WARM) ? -1 : fd;
}

/*
 * The clock's time for so many operations, in ns; -1 and errno if one fails. The pause is longer
 * than a server keeps a connection on which nobody asks anything, so what is counted is on a new
 * one.
 */
static int64_t counted(enum operation what, int phase, long count)
{
	int64_t sum = 0, start;
	long slice;
	int fd = warmed(what);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || listener < 0 || listen(listener, SLICES))
		return -1;
	if (what != CONNECTION)
		close(fd);
	align();
	if (what != CONNECTION && (fd = warmed(what)) < 0)
		return -1;
	for (slice = 0; slice < SLICES; slice++) {
		if (weigh_down(listener))
			return -1;
		start = now();
		enter(phase);
		if (perform(what, fd, count * (slice + 1) / SLICES - count * slice / SLICES))
			return -1;
		enter(0);
		sum += now() - start;
	}
	return sum;
}

/*
 * What is counted is in slices, as the state of the kernel's caches of objects decides what each
 * operation costs (a slab that is just full makes a path of 1 % of a round trip, each time), and
 * would otherwise be one state for all of a boot. For one call in a process, which ends with it.
 */
int64_t nettax_exact(int operation, int phase, int port, long count)
{
	server.sin_family = AF_INET;
	server.sin_port = htons(port);
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return counted(operation, phase, count);
}

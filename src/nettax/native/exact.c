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

#define ALIGN_S 10 /* counting begins at a multiple of so many seconds of the clock */
#define ANSWER	65536

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

enum operation { CONNECTION = 1, ROUND_TRIP, REQUEST_ANSWER }; /* also the phases' numbers */

static struct sockaddr_in server;
static char answer[ANSWER + 1];
static size_t expected; /* bytes of an answer */

static void enter(enum operation phase)
{
#ifdef __x86_64__
#define MARK(n)                                                                                    \
	__asm__ volatile(".byte 0x66, 0x0f, 0x1f, 0x84, 0x00, 'T', 'T', 'N', " #n ::: "memory")
	switch (phase) {
	case CONNECTION:
		MARK(1);
		return;
	case ROUND_TRIP:
		MARK(2);
		return;
	case REQUEST_ANSWER:
		MARK(3);
		return;
	}
	MARK(0);
#endif
	(void)phase;
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
 * The clock's time for so many operations, in ns; -1 and errno if one fails. All is done twice, and
 * counted the second time: by then nothing has to come from the host. Counting begins at an even
 * time of the clock, so that it meets as many of the kernel's ticks in each run.
 */
int64_t nettax_exact(int operation, int port, long count)
{
	enum operation what = operation;
	struct timespec start, end;
	int fd = -1, failed = 0;

	server.sin_family = AF_INET;
	server.sin_port = htons(port);
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (what != CONNECTION) {
		fd = connected();
		if (fd < 0)
			return -1;
		failed = what == REQUEST_ANSWER && learn(fd);
	}
	failed = failed || perform(what, fd, count);
	if (!failed) {
		clock_gettime(CLOCK_MONOTONIC, &start);
		start.tv_sec = (start.tv_sec / ALIGN_S + 1) * ALIGN_S;
		start.tv_nsec = 0;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &start, NULL);
		clock_gettime(CLOCK_MONOTONIC, &start);
		enter(what);
		failed = perform(what, fd, count);
		enter(0);
		clock_gettime(CLOCK_MONOTONIC, &end);
	}
	if (fd >= 0)
		close(fd);
	if (failed)
		return -1;
	return (end.tv_sec - start.tv_sec) * INT64_C(1000000000) + end.tv_nsec - start.tv_nsec;
}

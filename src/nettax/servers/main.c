// SPDX-License-Identifier: Apache-2.0
/* nettax-server MODEL PROTOCOL [--OPTION=VALUE …]: see nettax/servers/server.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

#define USAGE 2
#define REST  (10 * 1000 * 1000) /* ns, where descriptors or memory are used up */

struct options options = {
    .keep_alive = KEEP_ON,
    .bind = "127.0.0.1",
    .backlog = 511,
    .threads = 1,
    .idle_s = 60,
    .body = 128,
};

static struct stats own;
struct stats *stats = &own;

static const struct {
	const char *name;
	unsigned int *value;
	unsigned int most;
} numbers[] = {
    {"port", &options.port, 65535},
    {"backlog", &options.backlog, INT_MAX},
    {"threads", &options.threads, 1024},
    {"idle", &options.idle_s, 86400},
    {"max-requests", &options.max_requests, INT_MAX},
    {"sleep-us", &options.sleep_us, 60 * 1000 * 1000},
    {"work-us", &options.work_us, 60 * 1000 * 1000},
    {"leak", &options.leak, 1 << 20},
};

static const struct {
	const char *name;
	bool *value;
} flags[] = {
    {"nodelay", &options.nodelay},
    {"cork", &options.cork},
    {"two-writes", &options.two_writes},
};

static const struct {
	const char *name;
	int (*start)(int listener);
} models[] = {{"epoll", epoll_start}, {"threads", threads_start}, {"pool", pool_start}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void fail(int status, const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(status);
}

static uint64_t to_number(const char *text, uint64_t most)
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text < '0' || *text > '9' || number > most)
		fail(USAGE, text, "no number that fits");
	return number;
}

static void share_stats(const char *fd)
{
	stats = mmap(NULL, sizeof(*stats), PROT_READ | PROT_WRITE, MAP_SHARED,
		     to_number(fd, INT_MAX), 0);
	if (stats == MAP_FAILED)
		fail(1, "stats", strerror(errno));
}

static void set(const char *name, const char *value)
{
	for (size_t i = 0; i < COUNT(numbers); i++) {
		if (!strcmp(name, numbers[i].name)) {
			*numbers[i].value = to_number(value, numbers[i].most);
			return;
		}
	}
	for (size_t i = 0; i < COUNT(flags); i++) {
		if (!strcmp(name, flags[i].name)) {
			*flags[i].value = to_number(value, 1);
			return;
		}
	}
	if (!strcmp(name, "bind"))
		options.bind = value;
	else if (!strcmp(name, "body"))
		options.body = to_number(value, 1ULL << 40);
	else if (!strcmp(name, "keep-alive"))
		options.keep_alive = to_number(value, KEEP_ASKED);
	else if (!strcmp(name, "stats-fd"))
		share_stats(value);
	else
		fail(USAGE, name, "no such option");
}

static void read_options(char **words)
{
	for (; *words; words++) {
		char *value = strchr(*words, '=');

		if (strncmp(*words, "--", 2) || !value)
			fail(USAGE, *words, "options are --NAME=VALUE");
		*value++ = '\0';
		set(*words + 2, value);
	}
	if (!options.threads)
		fail(USAGE, "threads", "at least one");
}

/* Listen, and write down which port it is. */
static int listen_there(void)
{
	struct addrinfo wanted = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM},
			*found;
	struct sockaddr_storage at;
	socklen_t length = sizeof(at);
	char port[16];
	int on = 1, fd, error;

	snprintf(port, sizeof(port), "%u", options.port);
	error = getaddrinfo(options.bind, port, &wanted, &found);
	if (error)
		fail(USAGE, options.bind, gai_strerror(error));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, options.backlog) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &length) < 0)
		fail(1, options.bind, strerror(errno));
	getnameinfo((struct sockaddr *)&at, length, NULL, 0, port, sizeof(port), NI_NUMERICSERV);
	options.port = strtoul(port, NULL, 10);
	freeaddrinfo(found);
	return fd;
}

int server_accept(int listener, bool shared)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (shared ? SOCK_NONBLOCK : 0));

	if (fd >= 0 || errno == EAGAIN || errno == EINTR)
		return fd;
	count_error(ACCEPT, errno);
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		struct timespec rest = {.tv_nsec = REST};

		nanosleep(&rest, NULL); /* it stays ready: do not spin */
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	sigset_t ends;
	int listener, signal;

	if (argc < 3 || (strcmp(argv[2], "echo") && strcmp(argv[2], "http")))
		fail(USAGE, argv[0], "MODEL echo|http [--NAME=VALUE …]");
	options.protocol = strcmp(argv[2], "echo") ? HTTP : ECHO;
	read_options(argv + 3);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	mallopt(M_ARENA_MAX, 1); /* or memory grows with the threads that there were */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	listener = listen_there();
	for (size_t i = 0; i < COUNT(models); i++) {
		int error;

		if (strcmp(argv[1], models[i].name))
			continue;
		error = models[i].start(listener);
		if (error)
			fail(1, "threads", strerror(error));
		printf("%u\n", options.port);
		fflush(stdout);
		sigwait(&ends, &signal);
		return 0; /* the kernel closes what is open */
	}
	fail(USAGE, argv[1], "no such model");
}

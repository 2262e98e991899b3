// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "load.h"

/* How much later than asked the kernel may wake: 50 µs without this, and it would be told as
 * lateness. */
#define TIMER_SLACK_NS 1

void *load_map(int fd, size_t least)
{
	struct stat about;
	void *page;

	prctl(PR_SET_NAME, "nettax-load"); /* what top shows */
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	if (fstat(fd, &about) < 0)
		return NULL;
	if ((size_t)about.st_size < least) {
		errno = EINVAL;
		return NULL;
	}
	page = mmap(NULL, about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return page == MAP_FAILED ? NULL : page;
}

int load_socket(const struct load_address *address, int type)
{
	int family = ((const struct sockaddr *)address->bytes)->sa_family, on = 1;
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

void load_raise_files(void)
{
	struct rlimit files;

	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

// SPDX-License-Identifier: Apache-2.0
/* A thread for each connection, which is made when it comes and ends with it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"

#define STACK_BYTES 65536

static pthread_attr_t small_and_detached;
static int listening;

static void *serve(void *argument)
{
	struct connection *connection = argument;

	while (connection_turn(connection, true) != DONE)
		;
	connection_close(connection);
	return NULL;
}

static void *accept_all(void *unused)
{
	struct timeval patience = {.tv_sec = options.idle_s};

	(void)unused;
	for (;;) {
		int fd = server_accept(listening, false), error;
		struct connection *connection = fd < 0 ? NULL : connection_open(fd, false);
		pthread_t thread;

		if (!connection)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		error = pthread_create(&thread, &small_and_detached, serve, connection);
		if (error) {
			count_error(THREAD, error);
			connection_close(connection);
		}
	}
	return NULL;
}

int threads_start(int listener)
{
	pthread_t thread;

	listening = listener;
	pthread_attr_init(&small_and_detached);
	pthread_attr_setdetachstate(&small_and_detached, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&small_and_detached, STACK_BYTES);
	return pthread_create(&thread, NULL, accept_all, NULL);
}

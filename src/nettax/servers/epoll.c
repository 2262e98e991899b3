// SPDX-License-Identifier: Apache-2.0
/*
 * Readiness: each thread waits for the listening socket and for the connections that it accepted,
 * which nobody else touches.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server.h"

#define EVENTS	 256
#define ACCEPTS	 64 /* in a row, while connections that are ready wait */
#define PAUSE_MS 1000

struct worker {
	int listener;
	int epoll;
	struct ages ages;
};

static bool watch(int epoll, int operation, struct connection *connection, enum want want)
{
	unsigned int events = want == WANT_WRITE ? EPOLLOUT : EPOLLIN;
	struct epoll_event event = {.events = events, .data.ptr = connection};

	if (operation == EPOLL_CTL_MOD && connection->events == events)
		return true;
	connection->events = events;
	return !epoll_ctl(epoll, operation, connection->fd, &event);
}

static void end(struct worker *worker, struct connection *connection)
{
	ages_remove(&worker->ages, connection);
	connection_close(connection);
}

static void accept_some(struct worker *worker)
{
	for (int i = 0; i < ACCEPTS; i++) {
		int fd = server_accept(worker->listener, true);
		struct connection *connection = fd < 0 ? NULL : connection_open(fd, true);

		if (fd < 0)
			return;
		if (!connection)
			continue;
		if (watch(worker->epoll, EPOLL_CTL_ADD, connection, WANT_READ))
			ages_touch(&worker->ages, connection);
		else
			connection_close(connection);
	}
}

static void serve(struct worker *worker, struct connection *connection, unsigned int events)
{
	enum want want = connection_turn(connection, connection->events == EPOLLIN && events);

	if (want == DONE || !watch(worker->epoll, EPOLL_CTL_MOD, connection, want))
		end(worker, connection);
	else
		ages_touch(&worker->ages, connection);
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct epoll_event events[EVENTS];

	for (;;) {
		int ready = epoll_wait(worker->epoll, events, EVENTS, PAUSE_MS);

		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr)
				serve(worker, events[i].data.ptr, events[i].events);
			else
				accept_some(worker);
		}
		for (struct connection *silent; (silent = ages_silent(&worker->ages));) {
			count(&stats->idle, 1);
			end(worker, silent);
		}
	}
	return NULL;
}

int epoll_start(int listener)
{
	fcntl(listener, F_SETFL, O_NONBLOCK); /* another thread may take what this was told of */
	for (unsigned int i = 0; i < options.threads; i++) {
		struct worker *worker = calloc(1, sizeof(*worker));
		/* Of several threads, one is woken for a connection. */
		struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE};
		pthread_t thread;
		int error;

		if (!worker)
			return ENOMEM;
		worker->listener = listener;
		worker->epoll = epoll_create1(EPOLL_CLOEXEC);
		if (worker->epoll < 0 ||
		    epoll_ctl(worker->epoll, EPOLL_CTL_ADD, listener, &event) < 0)
			return errno;
		error = pthread_create(&thread, NULL, work, worker);
		if (error)
			return error;
	}
	return 0;
}

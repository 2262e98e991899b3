// SPDX-License-Identifier: Apache-2.0
/*
 * A pool: one thread accepts and waits for all connections, and queues those that are ready for
 * threads that serve what came and give the connection back. Held connections cost no thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server.h"

#define EVENTS	 256
#define PAUSE_MS 1000

/* Under the lock: the queue, linked by `next_ready`, and the ages of all connections. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static struct connection *first, *last;
static struct ages ages;
static int listening, epoll;

/* Have the dispatcher told when it is ready, once: it has one owner at a time. */
static bool watch(int operation, struct connection *connection, enum want want)
{
	unsigned int ready = want == WANT_WRITE ? EPOLLOUT : EPOLLIN;
	struct epoll_event event = {.events = ready | EPOLLONESHOT, .data.ptr = connection};

	connection->events = ready;
	return !epoll_ctl(epoll, operation, connection->fd, &event);
}

static struct connection *next_ready(void)
{
	struct connection *connection;

	pthread_mutex_lock(&lock);
	while (!first)
		pthread_cond_wait(&filled, &lock);
	connection = first;
	first = connection->next_ready;
	pthread_mutex_unlock(&lock);
	return connection;
}

static void end(struct connection *connection)
{
	pthread_mutex_lock(&lock);
	ages_remove(&ages, connection);
	pthread_mutex_unlock(&lock);
	connection_close(connection);
}

/*
 * Give a connection back. `busy` is cleared while the dispatcher cannot see it yet: once it is
 * watched, it belongs to whoever is told of it.
 */
static void *work(void *unused)
{
	(void)unused;
	for (;;) {
		struct connection *connection = next_ready();
		enum want want = connection_turn(connection, connection->events == EPOLLIN);
		bool lost;

		if (want == DONE) {
			end(connection);
			continue;
		}
		pthread_mutex_lock(&lock);
		ages_touch(&ages, connection);
		connection->busy = false;
		lost = !watch(EPOLL_CTL_MOD, connection, want);
		connection->busy = lost; /* the sweep waits for the lock */
		pthread_mutex_unlock(&lock);
		if (lost)
			end(connection);
	}
	return NULL;
}

static void queue(struct connection *connection)
{
	pthread_mutex_lock(&lock);
	connection->busy = true;
	connection->next_ready = NULL;
	if (first)
		last->next_ready = connection;
	else
		first = connection;
	last = connection;
	pthread_cond_signal(&filled);
	pthread_mutex_unlock(&lock);
}

static void accept_one(void)
{
	int fd = server_accept(listening, true);
	struct connection *connection = fd < 0 ? NULL : connection_open(fd, true);

	if (!connection)
		return;
	pthread_mutex_lock(&lock);
	ages_touch(&ages, connection);
	pthread_mutex_unlock(&lock);
	if (!watch(EPOLL_CTL_ADD, connection, WANT_READ))
		end(connection);
}

/* Only the dispatcher, who would queue it, ends a connection that nobody serves. */
static void sweep(void)
{
	struct connection *silent;

	pthread_mutex_lock(&lock);
	while ((silent = ages_silent(&ages)) && !silent->busy) {
		ages_remove(&ages, silent);
		connection_close(silent);
		count(&stats->idle, 1);
	}
	pthread_mutex_unlock(&lock);
}

static void *dispatch(void *unused)
{
	struct epoll_event events[EVENTS];

	(void)unused;
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, PAUSE_MS);

		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr)
				queue(events[i].data.ptr);
			else
				accept_one();
		}
		sweep();
	}
	return NULL;
}

int pool_start(int listener)
{
	struct epoll_event event = {.events = EPOLLIN};
	pthread_t thread;
	int error;

	listening = listener;
	fcntl(listener, F_SETFL, O_NONBLOCK); /* the peer may have left again */
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
		return errno;
	for (unsigned int i = 0; i < options.threads; i++) {
		error = pthread_create(&thread, NULL, work, NULL);
		if (error)
			return error;
	}
	return pthread_create(&thread, NULL, dispatch, NULL);
}

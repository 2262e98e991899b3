/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference servers: three models of concurrency over one connection and two protocols.
 *
 *   main.c        options, the listening socket, the end
 *   epoll.c       each thread has an epoll set and the connections that it accepted
 *   threads.c     a thread for each connection, with blocking calls
 *   pool.c        one thread waits for all connections, others serve those that are ready
 *   connection.c  bytes in, bytes out; echo
 *   http.c        HTTP/1.1: from bytes to requests and answers; http_head.c: one request's head
 *   ages.c        which connections have been silent for long
 */
#ifndef NETTAX_SERVER_H
#define NETTAX_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum protocol { ECHO, HTTP };
/* Whether a connection outlives an answer; KEEP_ASKED: only where the request has a header for it,
 * as servers of HTTP/1.0's style do. */
enum keep_alive { KEEP_OFF, KEEP_ON, KEEP_ASKED };

/* Set before the first thread starts; nettax/servers/server.py has what each means. */
struct options {
	enum protocol protocol;
	enum keep_alive keep_alive;
	const char *bind;
	unsigned int port;
	unsigned int backlog;
	unsigned int threads;
	unsigned int idle_s; /* a connection that neither sends nor takes anything is closed */
	unsigned int max_requests;
	unsigned int sleep_us;
	unsigned int work_us;
	unsigned int leak;
	uint64_t body;
	bool nodelay;
	bool cork;
	bool two_writes;
};

extern struct options options;

/* What a server counts, in a page that it may share. nettax/servers/stats.py has this layout too.
 */
enum operation { ACCEPT, RECEIVE, SEND, THREAD, OPERATIONS };
#define ERRNOS 134 /* EHWPOISON, 133, is Linux's last */

struct stats {
	uint64_t accepted;
	uint64_t closed;
	uint64_t requests; /* answered with what was asked for; of echo, what one recv(2) gave */
	uint64_t refused;  /* answered with 4xx or 5xx */
	uint64_t received_bytes;
	uint64_t sent_bytes;
	uint64_t idle; /* connections closed for their silence */
	uint64_t errors[OPERATIONS][ERRNOS];
};

extern struct stats *stats;

static inline void count(uint64_t *counter, uint64_t more)
{
	__atomic_fetch_add(counter, more, __ATOMIC_RELAXED);
}

void count_error(enum operation operation, int error);

#define IN_BYTES   8192 /* the most that a request's head may have */
#define OUT_BYTES  16384
#define SMALL_BODY 4096 /* bodies up to here are copied behind their heads */

/* Where a request is, when its bytes end. */
enum part { HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct request {
	enum part part;
	size_t scanned; /* of the head: bytes that hold no end of it */
	uint64_t left;	/* of the body, or of a chunk */
	uint64_t body;	/* of all chunks so far */
	unsigned int status;
	bool only_head; /* the method was HEAD */
	bool old;	/* HTTP/1.0 */
	bool close;
};

struct connection {
	int fd;
	bool shared;	/* the descriptor does not block */
	bool closing;	/* once the output is sent */
	bool lingering; /* our side is closed; the peer's bytes are thrown away */
	bool corked;
	bool half; /* of an echo in two writes */
	size_t in_used, in_taken;
	size_t out_used, out_sent;
	uint64_t body_left; /* of an answer's body, which follows the output */
	unsigned int answered;
	struct request request;
	/* Of the models that have many connections a thread: by when they were last active. */
	struct connection *older, *newer;
	int64_t active_s;
	/* Of the pool. */
	struct connection *next_ready;
	bool busy; /* in the queue, or served */
	unsigned int events;
	char in[IN_BYTES];
	char out[OUT_BYTES];
};

enum want { WANT_READ, WANT_WRITE, DONE };

/* Take over a descriptor; NULL, and it is closed, where there is no memory. */
struct connection *connection_open(int fd, bool shared);

/* Do what can be done now; `readable`: one recv(2) belongs to it. */
enum want connection_turn(struct connection *connection, bool readable);

void connection_close(struct connection *connection);

/* Room for an answer's head and a small body. */
static inline bool connection_has_room(const struct connection *connection)
{
	return OUT_BYTES - connection->out_used >= SMALL_BODY + 512;
}

void connection_put(struct connection *connection, const char *bytes, size_t length);

/* Put a whole body of at most SMALL_BODY behind its head. */
void connection_put_body(struct connection *connection);

/* What a request costs, by --sleep-us and --work-us. */
void connection_toil(void);

#define MAX_BODY (16ULL << 20) /* of a request: read and thrown away */

/*
 * Read a whole head: what it says of the body that follows, and with what it is answered. True
 * where the client waits for a word before it sends the body.
 */
bool http_read_head(struct request *request, const char *at, size_t length);

/* Answer the requests in the input, as many as there is room for. */
void http_answer(struct connection *connection);

/* The next connection of a listening socket; -1 where there is none now. */
int server_accept(int listener, bool shared);

int64_t server_seconds(void);

/* Connections by when they were last active, the oldest first. */
struct ages {
	struct connection *oldest, *newest;
};

void ages_touch(struct ages *ages, struct connection *connection);
void ages_remove(struct ages *ages, struct connection *connection);
/* One that has been silent for too long, or NULL. */
struct connection *ages_silent(const struct ages *ages);

/* Start a model's threads; an errno, or 0. */
int epoll_start(int listener);
int threads_start(int listener);
int pool_start(int listener);

#endif

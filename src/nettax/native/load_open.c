// SPDX-License-Identifier: Apache-2.0
/*
 * The open-loop requester: requests are due on a schedule that waits for nobody. One that finds
 * no free connection goes out late, and its time counts from when it was due; a closed loop would
 * not have sent it, and not have seen the queue.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "load.h"
#include "load_http.h"

#define EVENTS	     256
#define BATCH	     64 /* requests that were due before now, in one system call */
#define MAX_REQUEST  16384
#define REPLY	     65536
#define RECONNECT_NS 10000000ULL /* after a connection failed */
#define LOOK_NS	     100000000ULL
#define TELL_NS	     10000000ULL

enum open_protocol { OPEN_ECHO, OPEN_HTTP };

/* Written in Python before the start, but for `limit_ns`, which ends the run when it is made 0. */
struct open_loop {
	struct load_address address;
	uint32_t protocol;
	uint32_t connections;
	uint32_t depth; /* requests on one connection that wait for their answers */
	uint32_t request_bytes;
	uint32_t no_body; /* answers have none: HEAD */
	uint32_t poisson; /* exponential times between requests, else all the same */
	uint32_t lone;	  /* a connection serves one request only */
	uint32_t started;
	uint64_t interval_ps; /* from one request to the next; 0: as soon as a connection is free */
	uint64_t seed;
	uint64_t limit_ns;
	uint64_t drain_ns; /* how long to wait for the last answers */
	/* Results, which only grow. */
	uint64_t due; /* requests that the schedule had by now */
	uint64_t sent;
	uint64_t answered;
	uint64_t unanswered; /* sent, and their connection failed or the time was over */
	uint64_t connects;
	uint64_t sent_bytes;
	uint64_t received_bytes;
	uint64_t malformed;    /* what came was no answer */
	uint64_t closed_early; /* by the peer, with answers outstanding */
	uint64_t wall_ns;
	uint64_t cpu_ns;
	uint64_t statuses[6]; /* HTTP: 1xx … 5xx by their first digit */
	uint64_t connect_errors[LOAD_ERRNOS];
	uint64_t errors[LOAD_ERRNOS];
	struct load_histogram latency; /* from when it was due */
	struct load_histogram service; /* from when it was sent */
	char request[MAX_REQUEST];
};

_Static_assert(offsetof(struct open_loop, interval_ps) == 168 &&
		   offsetof(struct open_loop, statuses) == 288 &&
		   sizeof(struct open_loop) == 288 + 48 + 2 * 134 * 8 + 2 * 2432 * 8 + 16384,
	       "nettax/load/open_loop.py has this layout too");

struct asked {
	uint64_t due_ns, sent_ns;
};

struct peer {
	int fd;
	bool connecting;
	bool queued;		 /* among those that are free */
	uint32_t first, waiting; /* a ring of requests without an answer */
	size_t unsent;		 /* bytes that the socket had no room for */
	size_t back;		 /* of an echo */
	uint64_t retry_ns;
	struct http_answer *answer;
	struct asked *asked;
};

struct run {
	struct open_loop *page;
	struct peer *peers;
	uint32_t *free; /* a ring of those that can send */
	uint32_t free_first, free_count;
	uint32_t closed; /* connections to be opened again */
	bool blocks;	 /* a lone connection in a closed loop waits in recv(2) */
	int epoll;
	uint64_t start, cpu_start, planned_end, next_due;
	uint64_t remainder_ps;
	uint64_t random;
	char reply[REPLY];
};

static double uniform(struct run *run)
{
	/* xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift
	 * generators, scrambled", 2016), of which the upper 53 bits are used: never 0. */
	run->random ^= run->random >> 12;
	run->random ^= run->random << 25;
	run->random ^= run->random >> 27;
	return ((run->random * 2685821657736338717ULL >> 11) + 1) * 0x1p-53;
}

static void advance(struct run *run)
{
	uint64_t step = run->page->interval_ps;

	if (run->page->poisson)
		step *= -log(uniform(run));
	run->remainder_ps += step;
	run->next_due += run->remainder_ps / 1000;
	run->remainder_ps %= 1000;
	load_count(&run->page->due, 1);
}

static void make_free(struct run *run, uint32_t i)
{
	struct peer *peer = &run->peers[i];
	uint32_t size = run->page->connections;

	if (peer->queued || peer->fd < 0 || peer->connecting || peer->unsent ||
	    peer->waiting >= run->page->depth)
		return;
	peer->queued = true;
	run->free[(run->free_first + run->free_count++) % size] = i;
}

static int watch(struct run *run, int operation, uint32_t i, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u32 = i};

	return epoll_ctl(run->epoll, operation, run->peers[i].fd, &event);
}

/* A connection is over: what waited on it has no answer. */
static void hang_up(struct run *run, uint32_t i, uint64_t retry_ns)
{
	struct peer *peer = &run->peers[i];

	load_count(&run->page->unanswered, peer->waiting);
	close(peer->fd);
	peer->fd = -1;
	peer->connecting = false;
	peer->waiting = 0;
	peer->unsent = peer->back = 0;
	peer->retry_ns = retry_ns;
	run->closed++;
}

static void open_one(struct run *run, uint32_t i)
{
	struct peer *peer = &run->peers[i];
	const struct load_address *address = &run->page->address;
	int error = 0;

	peer->fd = load_socket(address, SOCK_STREAM);
	run->closed--;
	if (peer->fd < 0 ||
	    (connect(peer->fd, (const struct sockaddr *)address->bytes, address->length) < 0 &&
	     errno != EINPROGRESS))
		error = errno;
	load_count(&run->page->connects, 1);
	peer->connecting = true;
	if (!error && watch(run, EPOLL_CTL_ADD, i, EPOLLIN | EPOLLOUT) < 0)
		error = errno;
	if (error) {
		load_error(run->page->connect_errors, error);
		hang_up(run, i, load_clock() + RECONNECT_NS);
	}
	if (peer->answer)
		http_next(peer->answer);
}

static void open_closed(struct run *run, uint64_t now)
{
	for (uint32_t i = 0; run->closed && i < run->page->connections; i++)
		if (run->peers[i].fd < 0 && run->peers[i].retry_ns <= now)
			open_one(run, i);
}

static void connected(struct run *run, uint32_t i)
{
	struct peer *peer = &run->peers[i];
	int error = 0;
	socklen_t length = sizeof(error);

	getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &error, &length);
	if (error) {
		load_error(run->page->connect_errors, error);
		hang_up(run, i, load_clock() + RECONNECT_NS);
		return;
	}
	peer->connecting = false;
	watch(run, EPOLL_CTL_MOD, i, EPOLLIN);
	if (run->blocks) {
		struct timeval look = {.tv_usec = LOOK_NS / 1000};

		fcntl(peer->fd, F_SETFL, 0);
		setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &look, sizeof(look));
	}
	make_free(run, i);
}

static void failed(struct run *run, uint32_t i, int error)
{
	load_error(run->page->errors, error);
	hang_up(run, i, load_clock() + RECONNECT_NS);
}

/* Send what is left of the requests that are outstanding. */
static bool flush(struct run *run, uint32_t i)
{
	struct peer *peer = &run->peers[i];
	size_t size = run->page->request_bytes;
	struct iovec pieces[BATCH];
	struct msghdr message = {.msg_iov = pieces};

	while (peer->unsent) {
		size_t part = peer->unsent % size, left = peer->unsent;
		int n = 0;

		for (; left && n < BATCH; n++) {
			size_t length = part ? part : size;

			pieces[n] = (struct iovec){run->page->request + size - length, length};
			left -= length;
			part = 0;
		}
		message.msg_iovlen = n;

		ssize_t sent = sendmsg(peer->fd, &message, MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN)
				return !watch(run, EPOLL_CTL_MOD, i, EPOLLIN | EPOLLOUT);
			failed(run, i, errno);
			return false;
		}
		peer->unsent -= sent;
		load_count(&run->page->sent_bytes, sent);
	}
	return true;
}

/* How many requests go out on one connection: those that are due are shared out evenly. */
static uint32_t share(const struct run *run, const struct peer *peer, uint64_t now)
{
	uint64_t room = run->page->depth - peer->waiting, overdue = room;

	if (room > BATCH)
		room = BATCH;
	if (run->page->interval_ps)
		overdue = (now - run->next_due) * 1000 / run->page->interval_ps + 1;
	overdue = (overdue + run->free_count - 1) / run->free_count;
	return overdue < room ? overdue : room;
}

static void ask(struct run *run, uint64_t now)
{
	uint32_t i = run->free[run->free_first], size = run->page->connections, n = 0;
	struct peer *peer = &run->peers[i];
	uint32_t most = share(run, peer, now), depth = run->page->depth;

	run->free_first = (run->free_first + 1) % size;
	run->free_count--;
	peer->queued = false;
	if (peer->fd < 0 || peer->connecting) /* it closed meanwhile */
		return;
	for (; n < most && (!run->page->interval_ps || run->next_due <= now); n++) {
		struct asked *asked = &peer->asked[(peer->first + peer->waiting++) % depth];

		asked->due_ns = run->page->interval_ps ? run->next_due : now;
		asked->sent_ns = now;
		if (run->page->interval_ps)
			advance(run);
		else
			load_count(&run->page->due, 1);
	}
	load_count(&run->page->sent, n);
	peer->unsent = (size_t)n * run->page->request_bytes;
	if (flush(run, i))
		make_free(run, i);
}

static void answered(struct run *run, struct peer *peer, uint64_t now)
{
	struct asked *asked = &peer->asked[peer->first];

	peer->first = (peer->first + 1) % run->page->depth;
	peer->waiting--;
	load_record(&run->page->latency, now - asked->due_ns, 1);
	load_record(&run->page->service, now - asked->sent_ns, 1);
	load_count(&run->page->answered, 1);
}

static bool take_echo(struct run *run, struct peer *peer, size_t got, uint64_t now)
{
	size_t size = run->page->request_bytes;

	peer->back += got;
	while (peer->back >= size && peer->waiting) {
		peer->back -= size;
		answered(run, peer, now);
	}
	return peer->back < size;
}

/* False where the connection is of no more use. */
static bool take_http(struct run *run, struct peer *peer, size_t got, uint64_t now, bool *close)
{
	for (size_t at = 0, taken; at < got; at += taken) {
		if (!peer->waiting)
			return false;
		switch (http_take(peer->answer, run->reply + at, got - at, &taken,
				  run->page->no_body)) {
		case HTTP_WRONG:
			return false;
		case HTTP_WHOLE:
			load_count(&run->page->statuses[peer->answer->status / 100 % 6], 1);
			answered(run, peer, now);
			*close |= peer->answer->close || run->page->lone;
			http_next(peer->answer);
			break;
		case HTTP_MORE:
			break;
		}
	}
	return true;
}

/* The peer has closed: at the end of an answer, between answers, or too early. */
static void ended(struct run *run, uint32_t i, uint64_t now)
{
	struct peer *peer = &run->peers[i];

	if (peer->waiting && peer->answer && http_ends(peer->answer)) {
		load_count(&run->page->statuses[peer->answer->status / 100 % 6], 1);
		answered(run, peer, now);
	}
	if (peer->waiting)
		load_count(&run->page->closed_early, 1);
	hang_up(run, i, now);
}

static void receive(struct run *run, uint32_t i)
{
	struct peer *peer = &run->peers[i];
	ssize_t got = recv(peer->fd, run->reply, REPLY, 0);
	uint64_t now = load_clock();
	bool fine, close = false;

	if (got < 0) {
		if (errno != EAGAIN && errno != EINTR)
			failed(run, i, errno);
		return;
	}
	if (!got) {
		ended(run, i, now);
		return;
	}
	load_count(&run->page->received_bytes, got);
	fine = run->page->protocol == OPEN_ECHO ? take_echo(run, peer, got, now)
						: take_http(run, peer, got, now, &close);
	if (!fine) {
		load_count(&run->page->malformed, 1);
		hang_up(run, i, now + RECONNECT_NS);
	} else if (close) {
		if (peer->waiting) /* it was sent more than it was willing to answer */
			load_count(&run->page->closed_early, 1);
		hang_up(run, i, now);
	} else {
		make_free(run, i);
	}
}

static void handle(struct run *run, uint32_t i, uint32_t events)
{
	struct peer *peer = &run->peers[i];

	if (peer->fd < 0)
		return;
	if (peer->connecting) {
		connected(run, i);
		return;
	}
	if ((events & EPOLLOUT) && peer->unsent) {
		if (!flush(run, i))
			return;
		if (!peer->unsent)
			watch(run, EPOLL_CTL_MOD, i, EPOLLIN);
		make_free(run, i);
	}
	if (events & ~EPOLLOUT)
		receive(run, i);
}

static void wait_for(struct run *run, uint64_t now, uint64_t until)
{
	struct epoll_event events[EVENTS];
	uint64_t ns = until > now ? until - now : 0;
	struct timespec timeout = {.tv_sec = ns / NSEC, .tv_nsec = ns % NSEC};
	/* As glibc has it since 2.35 only, and Linux since 5.11. */
	int ready = syscall(SYS_epoll_pwait2, run->epoll, events, EVENTS, &timeout, NULL, 0);

	for (int n = 0; n < ready; n++)
		handle(run, events[n].data.u32, events[n].events);
}

static bool over(const struct run *run, uint64_t now)
{
	return now - run->start >= __atomic_load_n(&run->page->limit_ns, __ATOMIC_RELAXED);
}

static void tell_times(struct run *run)
{
	load_count(&run->page->wall_ns, load_clock() - run->start - run->page->wall_ns);
	load_count(&run->page->cpu_ns, load_cpu_clock() - run->cpu_start - run->page->cpu_ns);
}

static void keep_schedule(struct run *run)
{
	uint64_t now;

	while (!over(run, now = load_clock())) {
		uint64_t until = now + LOOK_NS;

		if (run->closed)
			open_closed(run, now);
		for (uint32_t n = run->free_count; n && run->free_count && run->next_due <= now;
		     n--)
			ask(run, now);
		/* With connections free: until a request is due. Else an answer frees one. */
		if (run->free_count && run->next_due < until)
			until = run->next_due;
		if (run->closed && now + RECONNECT_NS < until)
			until = now + RECONNECT_NS;
		if (run->blocks && !run->free_count && !run->closed)
			receive(run, 0);
		else
			wait_for(run, now, until);
		if (now - run->start - run->page->wall_ns >= TELL_NS)
			tell_times(run);
	}
	tell_times(run);
}

/* The last answers; and the requests that were due and never sent. */
static void drain(struct run *run)
{
	uint64_t now = load_clock(), end = now + run->page->drain_ns;
	uint32_t waiting;

	while (run->page->interval_ps && run->next_due < now && run->next_due < run->planned_end)
		advance(run);
	do {
		waiting = 0;
		for (uint32_t i = 0; i < run->page->connections; i++)
			waiting += run->peers[i].waiting;
		if (waiting)
			wait_for(run, now, now + LOOK_NS / 10);
		now = load_clock();
	} while (waiting && now < end);
	load_count(&run->page->unanswered, waiting);
}

static int set_up(struct run *run)
{
	struct open_loop *page = run->page;

	load_raise_files();
	run->random = page->seed | 1;
	run->blocks = page->connections == 1 && page->depth == 1 && !page->interval_ps;
	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	run->peers = calloc(page->connections, sizeof(*run->peers));
	run->free = calloc(page->connections, sizeof(*run->free));
	if (run->epoll < 0 || !run->peers || !run->free)
		return errno;
	for (uint32_t i = 0; i < page->connections; i++) {
		struct peer *peer = &run->peers[i];

		peer->fd = -1;
		peer->asked = calloc(page->depth, sizeof(*peer->asked));
		if (page->protocol == OPEN_HTTP)
			peer->answer = calloc(1, sizeof(*peer->answer));
		if (!peer->asked || (page->protocol == OPEN_HTTP && !peer->answer))
			return ENOMEM;
	}
	run->closed = page->connections;
	return 0;
}

/* Open the connections before the schedule starts, as far as they open within a second. */
static void connect_all(struct run *run)
{
	uint64_t now = load_clock(), end = now + NSEC;

	open_closed(run, now);
	while (run->free_count < run->page->connections && (now = load_clock()) < end) {
		wait_for(run, now, now + RECONNECT_NS);
		open_closed(run, load_clock());
	}
}

/* Run the schedule that the page describes; 0, or an errno. */
int nettax_load_open(int page_fd)
{
	struct open_loop *page = load_map(page_fd, sizeof(*page));
	struct run *run = calloc(1, sizeof(*run));
	int error;

	if (!page || !run)
		return errno;
	if (!page->connections || !page->depth || !page->request_bytes ||
	    page->request_bytes > MAX_REQUEST)
		return EINVAL;
	run->page = page;
	error = set_up(run);
	if (error)
		return error;
	connect_all(run);
	run->cpu_start = load_cpu_clock();
	run->start = run->next_due = load_clock();
	run->planned_end = run->start + page->limit_ns;
	__atomic_store_n(&page->started, 1, __ATOMIC_RELEASE);
	keep_schedule(run);
	drain(run);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The open-loop requester: requests are due on a schedule that waits for nobody. One that finds
 * no free connection goes out late, and its time counts from when it was due; a closed loop would
 * not have sent it, and not have seen the queue.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "load_open.h"

#define EVENTS	256
#define TELL_NS 10000000ULL

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
	if (open_flush(run, i))
		open_make_free(run, i);
}

static void wait_for(struct run *run, uint64_t now, uint64_t until)
{
	struct epoll_event events[EVENTS];
	uint64_t ns = until > now ? until - now : 0;
	struct timespec timeout = {.tv_sec = ns / NSEC, .tv_nsec = ns % NSEC};
	/* As glibc has it since 2.35 only, and Linux since 5.11. */
	int ready = syscall(SYS_epoll_pwait2, run->epoll, events, EVENTS, &timeout, NULL, 0);

	for (int n = 0; n < ready; n++)
		open_handle(run, events[n].data.u32, events[n].events);
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
			open_receive(run, 0);
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

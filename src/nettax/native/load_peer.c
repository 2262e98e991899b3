// SPDX-License-Identifier: Apache-2.0
/* The open-loop requester's connections: opened, asked on, answered, closed, opened again. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "load_open.h"

void open_make_free(struct run *run, uint32_t i)
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

void open_closed(struct run *run, uint64_t now)
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
	open_make_free(run, i);
}

static void failed(struct run *run, uint32_t i, int error)
{
	load_error(run->page->errors, error);
	hang_up(run, i, load_clock() + RECONNECT_NS);
}

bool open_flush(struct run *run, uint32_t i)
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

void open_receive(struct run *run, uint32_t i)
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
		open_make_free(run, i);
	}
}

void open_handle(struct run *run, uint32_t i, uint32_t events)
{
	struct peer *peer = &run->peers[i];

	if (peer->fd < 0)
		return;
	if (peer->connecting) {
		connected(run, i);
		return;
	}
	if ((events & EPOLLOUT) && peer->unsent) {
		if (!open_flush(run, i))
			return;
		if (!peer->unsent)
			watch(run, EPOLL_CTL_MOD, i, EPOLLIN);
		open_make_free(run, i);
	}
	if (events & ~EPOLLOUT)
		open_receive(run, i);
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One end of a flow: it sends or receives until its time is over or it is killed, and counts
 * in a page that it shares with the Python side (nettax/lab/endpoint.py).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_BATCH   1024
#define MAX_STREAMS 64
#define TCP_CHUNK   (128 * 1024)
#define SEND_ROOM   (64 << 20)
#define NSEC	    1000000000ULL

enum role { UDP_SENDER, UDP_SINK, UDP_READER, TCP_SENDER, TCP_READER };

/* Written in Python before the start, except for the receiver's socket and the count. */
struct flow {
	uint32_t role;
	uint32_t address; /* the receiver's, in network order */
	uint32_t port;
	uint32_t size;	  /* bytes of payload a packet */
	uint32_t batch;	  /* bursts a system call */
	uint32_t burst;	  /* packets that reach the device at once */
	uint32_t streams; /* TCP connections */
	uint32_t filter;  /* instructions of socket filter a packet, the return included */
	uint64_t pps;	  /* 0: as fast as it can */
	uint64_t limit;	  /* ns to run; Python ends the flow by making it 0 */
	uint64_t count;	  /* packets, or bytes of TCP */
	uint32_t socket;  /* the receiver's descriptor, for its count of drops */
};

_Static_assert(offsetof(struct flow, socket) == 56, "nettax/lab/endpoint.py has this layout too");

/* What Python waits for on its end of the standard error: all is set up. */
static void ready(void)
{
	if (write(STDERR_FILENO, "", 1) != 1)
		_exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

/* One writer, readers in other processes: a plain store that cannot tear. */
static void count(struct flow *flow, uint64_t more)
{
	__atomic_store_n(&flow->count, flow->count + more, __ATOMIC_RELAXED);
}

static bool over(const struct flow *flow, uint64_t start, uint64_t time)
{
	return time - start >= __atomic_load_n(&flow->limit, __ATOMIC_RELAXED);
}

static struct sockaddr_in receiver(const struct flow *flow)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET,
	    .sin_port = htons(flow->port),
	    .sin_addr.s_addr = flow->address,
	};
}

/*
 * Make a packet cost the softirq that delivers it `length` instructions: divisions by one of a
 * large number, some nanoseconds each. The kernel optimises no filter, and charges 8 bytes an
 * instruction to the socket (net.core.optmem_max, 20 KiB before Linux 6.7).
 */
static int attach_filter(int fd, uint32_t length, uint32_t verdict)
{
	struct sock_filter code[BPF_MAXINSNS];
	struct sock_fprog program = {.len = length, .filter = code};

	if (length == 0 || length > BPF_MAXINSNS) {
		errno = EINVAL;
		return -1;
	}
	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, UINT32_MAX);
	for (uint32_t i = 1; i < length - 1; i++)
		code[i] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 1);
	code[length - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/*
 * Packets leave on a schedule of absolute times, so that what was late is made up for. A veth
 * leaves a packet on its sender's account until the receiver's softirq is done with it. The room
 * for that is made larger than any backlog: as with a NIC, an overloaded receiver drops packets
 * and does not slow down its sender.
 */
static int send_udp(struct flow *flow)
{
	static char payload[65536];
	struct iovec data = {.iov_base = payload, .iov_len = flow->size * flow->burst};
	struct mmsghdr messages[MAX_BATCH];
	struct sockaddr_in to = receiver(flow);
	int room = SEND_ROOM, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -1;
	/* The kernel makes `burst` packets of each message, just before the device gets them. */
	if (flow->burst > 1 &&
	    setsockopt(fd, SOL_UDP, UDP_SEGMENT, &flow->size, sizeof(flow->size)) < 0)
		return -1;
	memset(messages, 0, sizeof(messages));
	for (uint32_t i = 0; i < flow->batch; i++) {
		messages[i].msg_hdr.msg_iov = &data;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	ready();

	uint64_t start = now(), time = start;

	while (!over(flow, start, time)) {
		uint64_t due = flow->pps ? flow->count * NSEC / flow->pps : 0;

		if (time - start >= due) {
			int sent = sendmmsg(fd, messages, flow->batch, 0);

			if (sent > 0)
				count(flow, (uint64_t)sent * flow->burst);
		}
		time = now();
	}
	return 0;
}

/*
 * A socket that nobody reads and that keeps nothing: its filter refuses every packet at the end
 * of the softirq's work. So no CPU but that of the softirq is used, and the socket's count of
 * drops is the exact number of packets that came.
 */
static int sink_udp(struct flow *flow, int fd)
{
	if (attach_filter(fd, flow->filter ? flow->filter : 1, 0) < 0)
		return -1;
	ready();
	poll(NULL, 0, flow->limit / (NSEC / 1000));
	return 0;
}

static int read_udp(struct flow *flow, int fd)
{
	static char payload[65536]; /* what was read is of no interest: all share one buffer */
	struct iovec data = {.iov_base = payload, .iov_len = sizeof(payload)};
	struct mmsghdr messages[MAX_BATCH];

	memset(messages, 0, sizeof(messages));
	for (uint32_t i = 0; i < flow->batch; i++) {
		messages[i].msg_hdr.msg_iov = &data;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	if (flow->filter && attach_filter(fd, flow->filter, UINT32_MAX) < 0)
		return -1;
	ready();

	uint64_t start = now();

	while (!over(flow, start, now())) {
		int got = recvmmsg(fd, messages, flow->batch, MSG_WAITFORONE, NULL);

		if (got > 0)
			count(flow, got);
	}
	return 0;
}

static int receive_udp(struct flow *flow)
{
	struct sockaddr_in at = receiver(flow);
	struct timeval wake = {.tv_sec = 1}; /* to look at the clock */
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wake, sizeof(wake)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -1;
	flow->socket = fd;
	return flow->role == UDP_SINK ? sink_udp(flow, fd) : read_udp(flow, fd);
}

/* Move bytes on every stream that is able to, until the time is over or no stream is left. */
static int run_streams(struct flow *flow, struct pollfd *streams, bool sending)
{
	static char chunk[TCP_CHUNK];
	uint64_t start = now();
	uint32_t open = flow->streams;

	while (open && !over(flow, start, now())) {
		if (poll(streams, flow->streams, 1000) < 0)
			return -1;
		for (uint32_t i = 0; i < flow->streams; i++) {
			if (!streams[i].revents)
				continue;
			ssize_t moved =
			    sending
				? send(streams[i].fd, chunk, TCP_CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL)
				: recv(streams[i].fd, chunk, TCP_CHUNK, MSG_DONTWAIT);
			if (moved > 0) {
				count(flow, moved);
			} else if (moved == 0 || errno != EAGAIN) {
				close(streams[i].fd);
				streams[i].fd = -1; /* poll(2) passes over it */
				open--;
			}
		}
	}
	return 0;
}

static int send_tcp(struct flow *flow)
{
	struct pollfd streams[MAX_STREAMS];
	struct sockaddr_in to = receiver(flow);

	for (uint32_t i = 0; i < flow->streams; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
			return -1;
		streams[i] = (struct pollfd){.fd = fd, .events = POLLOUT};
	}
	ready();
	return run_streams(flow, streams, true);
}

static int read_tcp(struct flow *flow)
{
	struct pollfd streams[MAX_STREAMS];
	struct sockaddr_in at = receiver(flow);
	struct timeval patience = {.tv_sec = 10}; /* for the sender to connect */
	int reuse = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)) ||
	    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, flow->streams) < 0)
		return -1;
	ready();
	for (uint32_t i = 0; i < flow->streams; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return -1;
		streams[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	return run_streams(flow, streams, false);
}

/*
 * Be the end of a flow that the page `page_fd` describes. One NUL byte on standard error says
 * that it is set up. Returns 0 when its time is over, and -1 with errno set.
 */
int nettax_flow_run(int page_fd)
{
	struct flow *flow =
	    mmap(NULL, sizeof(*flow), PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);

	if (flow == MAP_FAILED)
		return -1;
	if (!flow->batch || flow->batch > MAX_BATCH || flow->size * flow->burst > 65507 ||
	    flow->streams > MAX_STREAMS) {
		errno = EINVAL;
		return -1;
	}
	prctl(PR_SET_NAME, "nettax-flow"); /* what top shows */
	switch (flow->role) {
	case UDP_SENDER:
		return send_udp(flow);
	case UDP_SINK:
	case UDP_READER:
		return receive_udp(flow);
	case TCP_SENDER:
		return send_tcp(flow);
	case TCP_READER:
		return read_tcp(flow);
	}
	errno = EINVAL;
	return -1;
}

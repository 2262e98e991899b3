// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server's HTTP outside the kernel: what it answers to bytes, however they are cut into pieces.
 *
 * With -DLIBRARY it is answers(), for ctypes. Else it aborts where cuts change an answer: as a
 * target of libFuzzer, or, with -DPROGRAM, of what comes on stdin, each input after its size.
 */
#include <stdlib.h>

#include "server.h"

struct server_settings settings = {.timeout_ms = 1000};
struct server_stats server_stats;

static struct {
	const char *in;
	size_t left;
	unsigned int seed; /* of the cuts; 0: none */
	bool stalls;	   /* at its end, rather than ends */
	bool shut;
	char *out;
	size_t room, count;
} peer;

void connection_work(void)
{
}

void kernel_sock_shutdown(struct socket *sock, int how)
{
	(void)sock, (void)how;
	peer.shut = true;
}

int connection_receive(struct connection *conn, void *to, size_t size, long timeout)
{
	size_t now = min(size, peer.left);

	(void)conn, (void)timeout;
	if (!size)
		abort(); /* it would be taken for the stream's end */
	if (!now)
		return peer.stalls ? -EAGAIN : 0;
	if (peer.seed) {
		peer.seed = peer.seed * 1103515245 + 12345;
		now = min(now, (size_t)1 + (peer.seed >> 16) % 9);
	}
	memcpy(to, peer.in, now);
	peer.in += now;
	peer.left -= now;
	return now;
}

int connection_send(struct connection *conn, struct kvec *parts, size_t count)
{
	size_t i;

	(void)conn;
	if (peer.shut)
		abort();
	for (i = 0; i < count; i++) {
		if (peer.count + parts[i].iov_len > peer.room)
			return -EPIPE;
		memcpy(peer.out + peer.count, parts[i].iov_base, parts[i].iov_len);
		peer.count += parts[i].iov_len;
	}
	/* Whether the peer is told to go on depends on what has come with the head. */
	if (count == 1 && parts[0].iov_len == 25)
		peer.count -= 25;
	return 0;
}

/* Gives how many bytes it answered. */
size_t answers(const char *in, size_t count, unsigned int seed, bool stalls, char *out, size_t room)
{
	struct connection *conn = malloc(sizeof(*conn));
	struct sock sk;
	struct socket sock = {.sk = &sk};

	conn->sock = &sock;
	memset(&peer, 0, sizeof(peer));
	peer.in = in;
	peer.left = count;
	peer.seed = seed;
	peer.stalls = stalls;
	peer.out = out;
	peer.room = room;
	http_serve(conn);
	free(conn);
	return peer.count;
}

#ifndef LIBRARY
/* A target of libFuzzer; of cuts it takes those by three seeds. */
int LLVMFuzzerTestOneInput(const uint8_t *in, size_t count)
{
	static char whole[1 << 17], cut[sizeof(whole)];
	bool stalls = count % 2;
	size_t said = answers((const char *)in, count, 0, stalls, whole, sizeof(whole));
	unsigned int seed;

	for (seed = 1; seed < 4; seed++)
		if (answers((const char *)in, count, seed, stalls, cut, sizeof(cut)) != said ||
		    memcmp(whole, cut, said) != 0)
			abort();
	return 0;
}
#endif

#ifdef PROGRAM
int main(void)
{
	uint32_t size;

	while (fread(&size, sizeof(size), 1, stdin)) {
		uint8_t *in = malloc(size); /* of this size, so that no byte behind it is read */

		if (fread(in, 1, size, stdin) != size)
			return 1;
		LLVMFuzzerTestOneInput(in, size);
		free(in);
	}
	return 0;
}
#endif

// SPDX-License-Identifier: GPL-2.0-only
/* The echo protocol (RFC 862): what comes is sent back, until the peer has sent all. */
#include <linux/sched.h>
#include <linux/uio.h>

#include "server.h"

void echo_serve(struct connection *conn)
{
	for (;;) {
		int got =
			connection_receive(conn, conn->buffer, SERVER_BUFFER, MAX_SCHEDULE_TIMEOUT);
		struct kvec all = {.iov_base = conn->buffer, .iov_len = got};

		if (got <= 0)
			return;
		connection_work();
		if (connection_send(conn, &all, 1))
			return;
		stat_add(STAT_MESSAGES, 1);
	}
}

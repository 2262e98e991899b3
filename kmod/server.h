/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the server share. */
#ifndef NETTAX_SERVER_H
#define NETTAX_SERVER_H

#include <linux/list.h>
#include <linux/net.h>
#include <linux/percpu.h>
#include <linux/types.h>
#include <linux/workqueue.h>

/* Bytes: the longest head of a request, and the most that is echoed at once. */
#define SERVER_BUFFER 8192

/* Who runs a connection: a thread of its own, or an item of a workqueue, until it is closed. */
enum server_mode { MODE_KTHREAD, MODE_WORKQUEUE, MODE_WORKQUEUE_UNBOUND };

enum server_protocol { PROTOCOL_ECHO, PROTOCOL_HTTP };

/* As the module's parameters say, checked, and the same until it is unloaded. */
struct server_settings {
	enum server_mode mode;
	enum server_protocol protocol;
	int max_active;
	bool nodelay;
	bool cork;
	unsigned int work_us;
	unsigned int timeout_ms;
};

struct connection {
	struct list_head node; /* of all that live, under a mutex of connection.c */
	struct work_struct work;
	struct socket *sock;
	u64 accepted_ns;
	char buffer[SERVER_BUFFER];
};

extern struct server_settings settings;

/* connection.c */
int connections_prepare(void);
void connections_stop(void);
void connection_start(struct socket *sock);
int connection_receive(struct connection *conn, void *to, size_t size, long timeout);
int connection_send(struct connection *conn, struct kvec *parts, size_t count);
void connection_work(void);

/* echo.c, http.c: they return when nothing more is to be said to the peer */
void echo_serve(struct connection *conn);
void http_serve(struct connection *conn);

/* stats.c: counters, one set for each CPU, summed when they are read; their names are there */
enum server_stat {
	STAT_ACCEPTED,	     /* connections */
	STAT_ENDED,	     /* of them */
	STAT_ACCEPT_ERRORS,  /* accept() failed, other than by the server's end */
	STAT_START_ERRORS,   /* closed at once: no memory, no thread */
	STAT_START_DELAY_NS, /* from accept() until someone ran it, summed over connections */
	STAT_MESSAGES,	     /* pieces echoed, or requests answered */
	STAT_REFUSED,	     /* of these, requests answered by 4xx or 5xx */
	STAT_TIMEOUTS,	     /* requests that did not come in time */
	STAT_RECEIVED_BYTES,
	STAT_SENT_BYTES,
	STAT_COUNT
};

struct server_stats {
	u64 values[STAT_COUNT];
};

DECLARE_PER_CPU(struct server_stats, server_stats);

static inline void stat_add(enum server_stat stat, u64 value)
{
	this_cpu_add(server_stats.values[stat], value);
}

void stats_show(struct socket *listener);
void stats_hide(void);

#endif

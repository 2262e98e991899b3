// SPDX-License-Identifier: GPL-2.0-only
/*
 * HTTP/1.1: one document at "/". Requests are bounded in size (a head in the buffer, a body of
 * 1 MiB) and in time, and answered in their order, each with its length.
 */
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/tcp.h>
#include <linux/time.h>
#include <linux/timekeeping.h>
#include <linux/uio.h>
#include <net/sock.h>

#include "request.h"
#include "server.h"

#define DOCUMENT "The kernel answers.\n"

struct exchange {
	struct connection *conn;
	size_t have; /* bytes in the buffer */
	unsigned long deadline;
	bool corked;
};

static const char *reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 417:
		return "Expectation Failed";
	case 431:
		return "Request Header Fields Too Large";
	case 501:
		return "Not Implemented";
	case 505:
		return "HTTP Version Not Supported";
	}
	return "Bad Request";
}

static int answer(struct connection *conn, int status, const struct request *request)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const char *text = status == 200 ? DOCUMENT : reason(status);
	const char *keep = !request || !request->keep_alive ? "Connection: close\r\n"
			   : request->old		    ? "Connection: keep-alive\r\n"
							    : "";
	struct kvec parts[2];
	char head[256];
	struct tm now;

	time64_to_tm(ktime_get_real_seconds(), 0, &now);
	parts[0].iov_base = head;
	parts[0].iov_len = scnprintf(head, sizeof(head),
				     "HTTP/1.1 %d %s\r\n"
				     "Date: %.3s, %02d %.3s %ld %02d:%02d:%02d GMT\r\n"
				     "Content-Type: text/plain\r\n"
				     "Content-Length: %zu\r\n"
				     "%s%s\r\n",
				     status, reason(status), days + 3 * now.tm_wday, now.tm_mday,
				     months + 3 * now.tm_mon, now.tm_year + 1900, now.tm_hour,
				     now.tm_min, now.tm_sec, strlen(text),
				     status == 405 ? "Allow: GET, HEAD\r\n" : "", keep);
	parts[1].iov_base = (void *)text;
	parts[1].iov_len = strlen(text);
	stat_add(STAT_MESSAGES, 1);
	if (status != 200)
		stat_add(STAT_REFUSED, 1);
	return connection_send(conn, parts, request && request->head_only ? 1 : 2);
}

static void cork(struct exchange *exchange, bool on)
{
	if (!settings.cork || exchange->corked == on)
		return;
	tcp_sock_set_cork(exchange->conn->sock->sk, on);
	exchange->corked = on;
}

static int receive(struct exchange *exchange, char *to, size_t size)
{
	long left = exchange->deadline - jiffies;

	cork(exchange, false); /* the peer may wait for the answers so far */
	return left > 0 ? connection_receive(exchange->conn, to, size, left) : -EAGAIN;
}

static void drop(struct exchange *exchange, size_t count)
{
	exchange->have -= count;
	memmove(exchange->conn->buffer, exchange->conn->buffer + count, exchange->have);
}

/* Get a head whole. Gives its length; 0: the peer is gone or idle; negative: the status. */
static long read_head(struct exchange *exchange)
{
	struct head_search search = {};
	char *buffer = exchange->conn->buffer;

	for (;;) {
		long end;
		int got;

		/* Empty lines before a request are to be passed over (RFC 9112, 2.2). */
		while (!search.line && exchange->have >= 2 && !memcmp(buffer, "\r\n", 2)) {
			drop(exchange, 2);
			search.seen = 0;
		}
		end = head_end(&search, buffer, exchange->have);
		if (end)
			return end < 0 ? -400 : end;
		if (exchange->have == SERVER_BUFFER)
			return search.line ? -431 : -414;
		got = receive(exchange, buffer + exchange->have, SERVER_BUFFER - exchange->have);
		if (got == -EAGAIN && exchange->have) {
			stat_add(STAT_TIMEOUTS, 1);
			return -408;
		}
		if (got <= 0)
			return 0;
		exchange->have += got;
	}
}

/* Pass over a request's body. Gives 0; negative: the status; 1: the peer is gone. */
static int read_body(struct exchange *exchange, const struct request *request)
{
	struct body body = {.chunked = request->chunked, .left = request->length};
	char *buffer = exchange->conn->buffer;

	if (request->expects_continue && !exchange->have && !body_ended(&body)) {
		struct kvec go = {.iov_base = "HTTP/1.1 100 Continue\r\n\r\n", .iov_len = 25};

		if (connection_send(exchange->conn, &go, 1))
			return 1;
	}
	for (;;) {
		long passed = body_pass(&body, buffer, exchange->have);
		int got;

		if (passed < 0)
			return passed;
		drop(exchange, passed);
		if (body_ended(&body))
			return 0;
		got = receive(exchange, buffer, SERVER_BUFFER);
		if (got == -EAGAIN) {
			stat_add(STAT_TIMEOUTS, 1);
			return -408;
		}
		if (got <= 0)
			return 1;
		exchange->have = got;
	}
}

/*
 * Close so that the last answer arrives: a socket that is closed with bytes unread resets the
 * connection, and the peer's kernel then throws away what it has not read (RFC 9112, 9.6).
 */
static void close_gently(struct exchange *exchange)
{
	unsigned long left = REQUEST_BODY_MOST;
	int got;

	cork(exchange, false);
	kernel_sock_shutdown(exchange->conn->sock, SHUT_WR);
	exchange->deadline = jiffies + msecs_to_jiffies(min(settings.timeout_ms, 2000U));
	do {
		got = receive(exchange, exchange->conn->buffer, SERVER_BUFFER);
		left -= min_t(unsigned long, left, max(got, 0));
	} while (got > 0 && left);
}

void http_serve(struct connection *conn)
{
	struct exchange exchange = {.conn = conn};
	unsigned long timeout = msecs_to_jiffies(settings.timeout_ms);
	struct request request;

	WRITE_ONCE(conn->sock->sk->sk_sndtimeo, timeout);
	do {
		long length;
		int status;

		exchange.deadline = jiffies + timeout;
		length = read_head(&exchange);
		if (!length)
			return;
		status = length < 0 ? -length : request_parse(&request, conn->buffer, length);
		if (!status) {
			drop(&exchange, length);
			status = -read_body(&exchange, &request);
			if (status < 0)
				return;
		}
		cork(&exchange, true);
		if (status) {
			if (!answer(conn, status, NULL))
				close_gently(&exchange);
			return;
		}
		connection_work();
		if (answer(conn, request.status, &request))
			return;
	} while (request.keep_alive);
	close_gently(&exchange);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A TCP server inside the kernel, to measure what such servers cost: echo or HTTP/1.1, a thread for
 * each connection or a work item for each. It listens in the network namespace of who loads it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/inet.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/string.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "server.h"

static const char *const modes[] = {"kthread", "workqueue", "workqueue-unbound"};
static const char *const protocols[] = {"echo", "http"};

static char *mode = "kthread";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "who runs a connection: kthread, workqueue or workqueue-unbound (kthread)");

static char *protocol = "echo";
module_param(protocol, charp, 0444);
MODULE_PARM_DESC(protocol, "echo or http (echo)");

static char *address = "127.0.0.1";
module_param(address, charp, 0444);
MODULE_PARM_DESC(address, "IPv4 address to listen at; 0.0.0.0 is all (127.0.0.1)");

static ushort port = 8081;
module_param(port, ushort, 0444);
MODULE_PARM_DESC(port, "port to listen at; 0 takes a free one (8081)");

static int max_active;
module_param(max_active, int, 0444);
MODULE_PARM_DESC(max_active, "work items that run at a time; 0 is the kernel's default (0)");

static int backlog = 128;
module_param(backlog, int, 0444);
MODULE_PARM_DESC(backlog, "connections that may wait to be accepted, and one (128)");

static bool nodelay = true;
module_param(nodelay, bool, 0444);
MODULE_PARM_DESC(nodelay, "TCP_NODELAY (Y)");

static bool cork;
module_param(cork, bool, 0444);
MODULE_PARM_DESC(cork, "TCP_CORK while requests that came together are answered: http (N)");

static uint rcvbuf;
module_param(rcvbuf, uint, 0444);
MODULE_PARM_DESC(rcvbuf, "SO_RCVBUF in bytes; 0 leaves it to the kernel (0)");

static bool reuseaddr = true;
module_param(reuseaddr, bool, 0444);
MODULE_PARM_DESC(reuseaddr, "SO_REUSEADDR (Y)");

static uint work_us;
module_param(work_us, uint, 0444);
MODULE_PARM_DESC(work_us, "CPU time that each message takes besides, in us, up to 1000000 (0)");

static uint timeout_ms = 10000;
module_param(timeout_ms, uint, 0444);
MODULE_PARM_DESC(timeout_ms, "http: time for a request, and for an answer to be taken (10000)");

struct server_settings settings;
static struct socket *listener;
static DECLARE_COMPLETION(acceptor_ended);
static bool stopping;

static int check_settings(void)
{
	int found = match_string(modes, ARRAY_SIZE(modes), mode);

	if (found < 0) {
		pr_err("mode=%s is none of kthread, workqueue, workqueue-unbound\n", mode);
		return -EINVAL;
	}
	settings.mode = found;
	found = match_string(protocols, ARRAY_SIZE(protocols), protocol);
	if (found < 0) {
		pr_err("protocol=%s is neither echo nor http\n", protocol);
		return -EINVAL;
	}
	settings.protocol = found;
	if (max_active < 0 || max_active > WQ_MAX_ACTIVE) {
		pr_err("max_active=%d is not from 0 to %d\n", max_active, WQ_MAX_ACTIVE);
		return -EINVAL;
	}
	if (max_active && settings.mode == MODE_KTHREAD) {
		pr_err("max_active is a workqueue's, and mode=kthread has none\n");
		return -EINVAL;
	}
	if (backlog < 1 || rcvbuf > INT_MAX / 2 || work_us > 1000000 || timeout_ms < 1 ||
	    timeout_ms > 3600000) {
		pr_err("backlog, rcvbuf, work_us or timeout_ms is out of its range\n");
		return -EINVAL;
	}
	settings.max_active = max_active;
	settings.nodelay = nodelay;
	settings.cork = cork;
	settings.work_us = work_us;
	settings.timeout_ms = timeout_ms;
	return 0;
}

static int open_listener(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int error;

	if (!in4_pton(address, -1, (u8 *)&at.sin_addr.s_addr, -1, NULL)) {
		pr_err("address=%s is no IPv4 address\n", address);
		return -EINVAL;
	}
	/*
	 * Not a kernel's socket (sock_create_kern): such hold no reference to their namespace, and
	 * TCP stops its timers when they are closed, lost data or not (Linux commit 151c9c724d05
	 * ("tcp: properly terminate timers for kernel sockets")). What it accepts is alike.
	 */
	error = __sock_create(current->nsproxy->net_ns, PF_INET, SOCK_STREAM, IPPROTO_TCP,
			      &listener, 0);
	if (error)
		return error;
	if (reuseaddr)
		sock_set_reuseaddr(listener->sk);
	if (rcvbuf)
		sock_set_rcvbuf(listener->sk, rcvbuf); /* before any window is announced */
	/* Newer kernels take a struct sockaddr_unsized, older ones a struct sockaddr. */
	error = kernel_bind(listener, (void *)&at, sizeof(at));
	if (!error)
		error = kernel_listen(listener, backlog);
	if (error) {
		pr_err("cannot listen at %s:%u (error %d)\n", address, port, error);
		sock_release(listener);
	}
	return error;
}

static int accept_all(void *unused)
{
	while (!READ_ONCE(stopping)) {
		struct socket *sock;
		int error = kernel_accept(listener, &sock, 0);

		if (!error) {
			connection_start(sock);
		} else if (!READ_ONCE(stopping)) {
			stat_add(STAT_ACCEPT_ERRORS, 1);
			if (error != -ECONNABORTED)
				msleep(20); /* of memory, mostly: some may be free by then */
		}
	}
	kthread_complete_and_exit(&acceptor_ended, 0);
	return 0; /* not reached */
}

static int __init server_init(void)
{
	struct task_struct *acceptor;
	int error = check_settings();

	if (error)
		return error;
	error = open_listener();
	if (error)
		return error;
	error = connections_prepare();
	if (error)
		goto close;
	acceptor = kthread_run(accept_all, NULL, "nettax_accept");
	error = PTR_ERR_OR_ZERO(acceptor);
	if (error)
		goto unprepare;
	stats_show(listener);
	return 0;
unprepare:
	connections_stop();
close:
	sock_release(listener);
	return error;
}

static void __exit server_exit(void)
{
	stats_hide();
	WRITE_ONCE(stopping, true);
	kernel_sock_shutdown(listener, SHUT_RDWR); /* accept() returns */
	wait_for_completion(&acceptor_ended);
	connections_stop();
	sock_release(listener);
}

module_init(server_init);
module_exit(server_exit);
MODULE_DESCRIPTION("An echo and HTTP/1.1 server in the kernel, to measure its cost");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections: who runs them, and how they all end.
 *
 * A connection is run from accept() to its close by one thread, or by one work item, which then
 * frees it. Nothing else frees, and nothing is left to be collected later.
 *
 * The end of the server takes no signal and no kthread_stop(): every socket is shut down, under
 * the mutex that also takes connections off the list, so each recvmsg() and sendmsg() returns, and
 * then we wait. A thread's last step is kthread_complete_and_exit(), which is the kernel's text:
 * once as many completions have come as threads were started, none of them is in ours.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <net/sock.h>

#include "server.h"

/* Newer kernels want it said; to older ones it goes without saying. */
#ifdef HAVE_WQ_PERCPU
#define PER_CPU WQ_PERCPU
#else
#define PER_CPU 0
#endif

static DEFINE_MUTEX(lock);
static LIST_HEAD(live);
static DECLARE_COMPLETION(ended); /* once for each thread */
static unsigned int started;	  /* threads, less those whose end was seen; the acceptor's */
static struct workqueue_struct *queue;
static struct kmem_cache *cache;

int connections_prepare(void)
{
	unsigned int flags = settings.mode == MODE_WORKQUEUE_UNBOUND ? WQ_UNBOUND : PER_CPU;

	/* A cache of our own: its end complains of what was not freed. */
	cache = KMEM_CACHE(connection, 0);
	if (!cache)
		return -ENOMEM;
	if (settings.mode == MODE_KTHREAD)
		return 0;
	queue = alloc_workqueue("nettax_server", flags, settings.max_active);
	if (queue)
		return 0;
	kmem_cache_destroy(cache);
	return -ENOMEM;
}

/* End all connections and wait for who runs them; the acceptor has ended. */
void connections_stop(void)
{
	struct connection *conn;

	mutex_lock(&lock);
	list_for_each_entry(conn, &live, node)
		kernel_sock_shutdown(conn->sock, SHUT_RDWR);
	mutex_unlock(&lock);
	if (queue)
		destroy_workqueue(queue); /* runs what is still queued, too */
	for (; started; started--)
		wait_for_completion(&ended);
	kmem_cache_destroy(cache);
}

static void end(struct connection *conn)
{
	mutex_lock(&lock);
	list_del(&conn->node);
	mutex_unlock(&lock);
	sock_release(conn->sock);
	kmem_cache_free(cache, conn);
	stat_add(STAT_ENDED, 1);
}

static void run(struct connection *conn)
{
	stat_add(STAT_START_DELAY_NS, ktime_get_ns() - conn->accepted_ns);
	if (settings.protocol == PROTOCOL_HTTP)
		http_serve(conn);
	else
		echo_serve(conn);
	end(conn);
}

static int run_in_thread(void *conn)
{
	run(conn);
	kthread_complete_and_exit(&ended, 0);
	return 0; /* not reached */
}

static void run_in_queue(struct work_struct *work)
{
	run(container_of(work, struct connection, work));
}

/* Have a connection run; it is closed if nobody can. For the acceptor alone. */
void connection_start(struct socket *sock)
{
	struct connection *conn = kmem_cache_alloc(cache, GFP_KERNEL);
	struct task_struct *thread;

	stat_add(STAT_ACCEPTED, 1);
	if (!conn) {
		stat_add(STAT_START_ERRORS, 1);
		stat_add(STAT_ENDED, 1);
		sock_release(sock);
		return;
	}
	conn->sock = sock;
	conn->accepted_ns = ktime_get_ns();
	if (settings.nodelay)
		tcp_sock_set_nodelay(sock->sk);
	mutex_lock(&lock);
	list_add(&conn->node, &live);
	mutex_unlock(&lock);
	if (queue) {
		INIT_WORK(&conn->work, run_in_queue);
		queue_work(queue, &conn->work);
		return;
	}
	while (started && try_wait_for_completion(&ended))
		started--; /* so that the completion's own count stays small */
	thread = kthread_run(run_in_thread, conn, "nettax_conn");
	if (!IS_ERR(thread)) {
		started++;
		return;
	}
	stat_add(STAT_START_ERRORS, 1);
	end(conn);
}

/*
 * Take what there is, up to a size, or wait for it that long (jiffies). Gives the bytes taken, 0 at
 * the stream's end, -EAGAIN when the time is over, or another error.
 */
int connection_receive(struct connection *conn, void *to, size_t size, long timeout)
{
	struct kvec part = {.iov_base = to, .iov_len = size};
	struct msghdr message = {};
	int got;

	WRITE_ONCE(conn->sock->sk->sk_rcvtimeo, timeout);
	got = kernel_recvmsg(conn->sock, &message, &part, 1, size, 0);
	if (got > 0)
		stat_add(STAT_RECEIVED_BYTES, got);
	return got;
}

/* Send all of these, or give an error. */
int connection_send(struct connection *conn, struct kvec *parts, size_t count)
{
	struct msghdr message = {.msg_flags = MSG_NOSIGNAL};
	size_t size = 0, i;
	int sent;

	for (i = 0; i < count; i++)
		size += parts[i].iov_len;
	sent = kernel_sendmsg(conn->sock, &message, parts, count, size);
	if (sent > 0)
		stat_add(STAT_SENT_BYTES, sent);
	return sent == size ? 0 : -EPIPE;
}

/* The work of one message: so many µs of this CPU, giving way to others as a system call would. */
void connection_work(void)
{
	unsigned int left = settings.work_us;

	while (left) {
		unsigned int now = min(left, 1000U);

		udelay(now);
		left -= now;
		cond_resched();
	}
}

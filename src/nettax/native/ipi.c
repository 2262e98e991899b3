// SPDX-License-Identifier: Apache-2.0
/*
 * The storm: a gap canary, and a second thread that interrupts it at a set rate.
 *
 * membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) interrupts every other CPU that runs a thread of
 * the caller's process (kernel/sched/membarrier.c: ipi_mb, one memory barrier). The victim is the
 * only such thread, so a call is one interrupt with almost nothing in it: what it costs
 * the victim is what any interrupt costs, beside its handler.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "canary.h"

struct sender {
	struct canary_page *page;
	uint64_t period_ns;
};

static int membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

/*
 * The rate is a ceiling: a call that outlasts its period is not made up for, as two IPIs close
 * together would find the victim still in the first and make one gap.
 */
static void *send_ipis(void *argument)
{
	const struct sender *sender = argument;
	uint64_t due = canary_clock_ns();

	prctl(PR_SET_NAME, "nettax-ipis");
	for (;;) {
		uint64_t now = canary_clock_ns();

		if (now < due)
			continue;
		membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
		__atomic_fetch_add(&sender->page->ipis, 1, __ATOMIC_RELAXED);
		now = canary_clock_ns();
		due += sender->period_ns;
		if (due < now)
			due = now + sender->period_ns;
	}
	return NULL;
}

static int start_sender(struct sender *sender, int cpu)
{
	pthread_attr_t attributes;
	pthread_t thread;
	cpu_set_t cpus;
	int error;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	pthread_attr_init(&attributes);
	error = pthread_attr_setaffinity_np(&attributes, sizeof(cpus), &cpus);
	if (!error)
		error = pthread_create(&thread, &attributes, send_ipis, sender);
	pthread_attr_destroy(&attributes);
	return error;
}

/* A rate of 0 sends none: the baseline. */
int canary_storm(int fd, int victim_cpu, int lifetime_s, int threshold_ns, int sender_cpu,
		 int rate_per_s)
{
	struct sender sender = {.page = canary_map(fd)};
	int error;

	if (!sender.page)
		return errno;
	error = canary_settle(victim_cpu);
	if (error)
		return error;
	if (rate_per_s) {
		if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
			return ENOSYS;
		sender.period_ns = 1000000000 / rate_per_s;
		error = start_sender(&sender, sender_cpu);
		if (error)
			return error;
	}
	return canary_watch(sender.page, threshold_ns, lifetime_s);
}

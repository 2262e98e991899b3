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

static int membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

/*
 * The rate is a ceiling: a call that outlasts its period is not made up for, as two IPIs close
 * together would find the victim still in the first and make one gap. Without a rate it spins all
 * the same, so that a calm differs from a storm in nothing but the IPIs.
 */
static void *send_ipis(void *argument)
{
	struct canary_page *page = argument;
	uint64_t due = 0;

	prctl(PR_SET_NAME, "nettax-ipis");
	for (;;) {
		uint64_t period_ns = __atomic_load_n(&page->period_ns, __ATOMIC_RELAXED);
		uint64_t now = canary_clock_ns();

		if (!period_ns || now < due)
			continue;
		membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
		__atomic_fetch_add(&page->ipis, 1, __ATOMIC_RELAXED);
		now = canary_clock_ns();
		due += period_ns;
		if (due < now)
			due = now + period_ns;
	}
	return NULL;
}

static int start_sender(struct canary_page *page, int cpu)
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
		error = pthread_create(&thread, &attributes, send_ipis, page);
	pthread_attr_destroy(&attributes);
	return error;
}

int canary_storm(int fd, int victim_cpu, int lifetime_s, int threshold_ns, int sender_cpu)
{
	struct canary_page *page = canary_map(fd, 1);
	int error;

	if (!page)
		return errno;
	error = canary_settle(victim_cpu);
	if (error)
		return error;
	if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
		return ENOSYS;
	error = start_sender(page, sender_cpu);
	if (error)
		return error;
	return canary_watch(page, threshold_ns, lifetime_s);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The canary: a victim that only computes, on one CPU, and says how far it has come.
 *
 * Two engines. The chain's every step waits for the one before, so its speed is that of the
 * core and of nothing else; what it loses shows as a lower rate. The gap engine reads the cycle
 * counter without pause: two readings far apart mean that something else had the CPU between
 * them, so it needs no speed to compare with.
 *
 * Both stay in SCHED_OTHER. A real-time canary would win against ksoftirqd, and so starve what
 * it is there to measure.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "canary.h"
#include "meter.h"

/* About 4 µs: short beside any interruption that matters, long beside a publication. */
#define CHAIN_STEPS 3000
/* How often the gap engine publishes: so old may a reading be. */
#define PUBLISH_NS 50000

uint64_t canary_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

struct canary_page *canary_map(int fd, int pages)
{
	void *page = mmap(NULL, pages * sizeof(struct canary_page), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, fd, 0);

	return page == MAP_FAILED ? NULL : page;
}

int canary_settle(int cpu)
{
	const struct sched_param normal = {0};
	cpu_set_t cpus;

	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return EINVAL;
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) ||
	    sched_setscheduler(0, SCHED_OTHER, &normal) || prctl(PR_SET_NAME, "nettax-canary"))
		return errno;
	return 0;
}

void canary_publish(struct canary_page *page, const struct canary_sample *sample)
{
	uint64_t version = page->version + 1;

	memcpy(&page->slots[version & 1], sample, sizeof(*sample));
	__atomic_store_n(&page->version, version, __ATOMIC_RELEASE);
	/* The next publication overwrites the older slot: not before its readers can know. */
	atomic_thread_fence(memory_order_release);
}

/*
 * Copy the newest sample. EAGAIN: none is published yet, or the canary published during each of
 * the attempts, which takes a reader that is itself interrupted again and again.
 */
int canary_read(const struct canary_page *page, struct canary_sample *sample)
{
	for (int attempt = 0; attempt < 1000; attempt++) {
		uint64_t version = __atomic_load_n(&page->version, __ATOMIC_ACQUIRE);

		if (!version)
			return EAGAIN;
		memcpy(sample, &page->slots[version & 1], sizeof(*sample));
		atomic_thread_fence(memory_order_acquire);
		if (__atomic_load_n(&page->version, __ATOMIC_RELAXED) == version)
			return 0;
	}
	return EAGAIN;
}

uint64_t canary_ipis(const struct canary_page *page)
{
	return __atomic_load_n(&page->ipis, __ATOMIC_RELAXED);
}

void canary_set_period(struct canary_page *page, uint64_t period_ns)
{
	__atomic_store_n(&page->period_ns, period_ns, __ATOMIC_RELAXED);
}

void canary_set_cpu(struct canary_page *page, uint64_t cpu)
{
	page->cpu = cpu;
}

uint64_t canary_tid(const struct canary_page *page)
{
	return __atomic_load_n(&page->tid, __ATOMIC_RELAXED);
}

const size_t canary_page_size = sizeof(struct canary_page);
const size_t canary_sample_size = sizeof(struct canary_sample);

int canary_chain(int fd, int cpu, int lifetime_s)
{
	struct canary_page *page = canary_map(fd, 1);
	struct canary_sample sample = {0};
	int error;

	if (!page)
		return errno;
	error = canary_settle(cpu);
	if (error)
		return error;

	uint64_t end = canary_clock_ns() + lifetime_s * NSEC_PER_SEC;

	do {
		for (int step = 0; step < CHAIN_STEPS; step++)
			sample.chain = canary_step(sample.chain);
		sample.iterations += CHAIN_STEPS;
		sample.cycles = canary_cycles();
		sample.ns = canary_clock_ns();
		canary_publish(page, &sample);
	} while (sample.ns < end);
	return 0;
}

int canary_watch(struct canary_page *page, int threshold_ns, int lifetime_s)
{
	struct canary_meter meter;

	canary_meter_start(&meter, page, threshold_ns);

	uint64_t period = PUBLISH_NS / meter.scale;
	uint64_t end = canary_clock_ns() + lifetime_s * NSEC_PER_SEC;

	for (uint64_t due = meter.last; meter.sample.ns < end;) {
		uint64_t now = canary_cycles();

		canary_meter_turn(&meter, now);
		if (now >= due && canary_meter_publish(&meter, now))
			due = now + period;
	}
	return 0;
}

int canary_gap(int fd, int cpu, int lifetime_s, int threshold_ns)
{
	struct canary_page *page = canary_map(fd, 1);
	int error;

	if (!page)
		return errno;
	error = canary_settle(cpu);
	return error ? error : canary_watch(page, threshold_ns, lifetime_s);
}

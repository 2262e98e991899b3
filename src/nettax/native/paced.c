// SPDX-License-Identifier: Apache-2.0
/*
 * The paced engine: a gap canary that runs in short bursts, for the share of a CPU that it is
 * given, so that it can stay beside production work. One thread a CPU.
 *
 * Each period has one burst, at a random time in it: bursts at even times would see all or
 * nothing of a load that comes at even times too. A burst is observed for the same time by the
 * clock, whoever had the CPU meanwhile, and what is taken of it lies within that time: so each
 * burst is one sample of equal weight.
 *
 * Its CPU time never exceeds its share of the time since its start: a burst for which too
 * little is left is left out. It counts all that the kernel bills, interrupts of others included.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "canary.h"
#include "meter.h"

#define TIMER_SLACK_NS 1 /* the default is 50 µs, and would be told as lateness */

struct pace {
	struct canary_page *page;
	uint64_t burst_ns;
	uint64_t period_ns;
	int threshold_ns;
	int lifetime_s;
};

static uint64_t cpu_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec due = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
		;
}

static void burst(struct canary_meter *meter, uint64_t burst_ns)
{
	struct canary_sample *sample = &meter->sample;
	uint64_t length = burst_ns / meter->scale, before = sample->gap_cycles;
	uint64_t start = canary_cycles(), gaps, taken, now;

	meter->last = start;
	do {
		gaps = sample->gaps;
		now = canary_cycles();
		canary_meter_turn(meter, now);
	} while (now - start < length);
	taken = sample->gap_cycles - before;
	if (sample->gaps > gaps) /* the last turn was a gap: only its part within the burst */
		taken -= now - start - length;
	sample->taken_cycles += taken;
	sample->square += (double)taken / length * taken / length;
	sample->bursts++;
}

/* When the next burst is due: in the first period that has CPU time left for it. */
static uint64_t next_due(const struct pace *pace, uint64_t begin, uint64_t used, uint64_t *period,
			 uint64_t *random)
{
	/* The CPU time of n periods is n × burst_ns. */
	uint64_t affordable = (used + 2 * pace->burst_ns - 1) / pace->burst_ns;
	uint64_t room = pace->period_ns - pace->burst_ns;

	*period = affordable > *period + 1 ? affordable : *period + 1;
	*random = canary_step(*random);
	return begin + *period * pace->period_ns + (uint64_t)((*random >> 11) * 0x1p-53 * room);
}

static void *keep_pace(void *argument)
{
	const struct pace *pace = argument;
	struct canary_meter meter;
	int error = canary_settle(pace->page->cpu);

	if (error)
		exit(error);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	canary_meter_start(&meter, pace->page, pace->threshold_ns);
	__atomic_store_n(&pace->page->tid, syscall(SYS_gettid), __ATOMIC_RELAXED);
	canary_meter_turn(&meter, canary_cycles());
	canary_publish(pace->page, &meter.sample); /* ready */

	uint64_t begin = canary_clock_ns(), billed = cpu_clock_ns(), random = begin ^ billed;
	uint64_t end = begin + pace->lifetime_s * NSEC_PER_SEC, period = 0, due;

	while ((due = next_due(pace, begin, cpu_clock_ns() - billed, &period, &random)) < end) {
		sleep_until(due);
		meter.sample.late_ns += canary_clock_ns() - due;
		burst(&meter, pace->burst_ns);
		while (!canary_meter_publish(&meter, canary_cycles()))
			;
	}
	return NULL;
}

/* `pages` pages, whose `cpu` the caller has set: a thread for each, the first in the main one. */
int canary_paced(int fd, int pages, int lifetime_s, int threshold_ns, int burst_ns, int period_ns)
{
	struct canary_page *page = canary_map(fd, pages);
	struct pace *paces = calloc(pages, sizeof(*paces));

	if (!page || !paces)
		return errno;
	for (int i = pages - 1; i >= 0; i--) {
		pthread_t thread;
		int error;

		paces[i] = (struct pace){&page[i], burst_ns, period_ns, threshold_ns, lifetime_s};
		if (i == 0) {
			keep_pace(&paces[i]);
			return 0;
		}
		error = pthread_create(&thread, NULL, keep_pace, &paces[i]);
		if (error)
			return error;
	}
	return 0;
}

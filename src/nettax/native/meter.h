/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meter of a loop that reads the cycle counter at every turn: a turn that took longer than a
 * threshold was interrupted, and is a gap.
 */
#ifndef NETTAX_METER_H
#define NETTAX_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "canary.h"

#if defined(__x86_64__) || defined(__i386__)
#include <x86intrin.h>
#endif

#define NSEC_PER_SEC 1000000000ull

/* One moment on both clocks. */
struct canary_instant {
	uint64_t ns;
	uint64_t cycles;
};

struct canary_meter {
	struct canary_page *page;
	struct canary_sample sample;
	struct canary_instant start;
	double scale;	   /* ns a cycle */
	int64_t threshold; /* cycles */
	int64_t own;	   /* what stamping and publishing take undisturbed, in cycles */
	uint64_t last;	   /* the counter at the end of the last turn */
};

static inline uint64_t canary_cycles(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __rdtsc();
#elif defined(__aarch64__)
	uint64_t count;

	asm volatile("mrs %0, cntvct_el0" : "=r"(count));
	return count;
#else
	return canary_clock_ns();
#endif
}

/* The histogram's bucket for a length. */
int canary_bucket(uint64_t ns);

/* Count the turn that ends at `now`. */
static inline void canary_meter_turn(struct canary_meter *meter, uint64_t now)
{
	int64_t turn = now - meter->last;

	meter->last = now;
	meter->sample.iterations++;
	if (__builtin_expect(turn > meter->threshold, 0)) {
		meter->sample.gaps++;
		meter->sample.gap_cycles += turn;
		meter->sample.histogram[canary_bucket(turn * meter->scale)]++;
	}
}

/* Find the counter's frequency, for a millisecond, and what a publication takes. */
void canary_meter_start(struct canary_meter *meter, struct canary_page *page, int threshold_ns);

/* Stamp the counts and publish them; false if something came between the two clocks. */
bool canary_meter_publish(struct canary_meter *meter, uint64_t now);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page through which a canary tells its progress, and what its engines share.
 *
 * One process writes the page, any number read it, and neither ever waits for the other: a
 * canary that is interrupted in the middle of a publication is the very thing being measured,
 * so a reader must not spin until it comes back. Hence two slots, as in the kernel's
 * seqcount_latch (include/linux/seqlock.h): while one is written, the other is whole.
 */
#ifndef NETTAX_CANARY_H
#define NETTAX_CANARY_H

#include <stdint.h>

/* Four buckets an octave, up to 2^35 ns = 34 s. The reader's arithmetic is in histogram.py. */
#define CANARY_BUCKETS 136

/* All counts are since the start; all of them were true at one moment, `ns`. */
struct canary_sample {
	uint64_t ns;	     /* CLOCK_MONOTONIC */
	uint64_t cycles;     /* the cycle counter */
	uint64_t iterations; /* steps of the chain, or turns of the gap loop */
	uint64_t chain;	     /* the chain's value after that many steps */
	uint64_t gaps;
	uint64_t gap_cycles;
	/* Of the paced engine alone: */
	uint64_t bursts;
	uint64_t taken_cycles; /* in gaps, as far as these lie within their burst */
	uint64_t late_ns;      /* from the times at which bursts were due to their first turns */
	double square;	       /* sum of the squares of the bursts' shares in gaps */
	uint64_t histogram[CANARY_BUCKETS]; /* gaps by their length in ns */
};

struct canary_page {
	/* Samples published; the newest is slots[version & 1]. */
	_Alignas(64) uint64_t version;
	_Alignas(64) struct canary_sample slots[2];
	/* On a cache line of their own, as the victim never looks: IPIs sent, and the time from one
	 * to the next, 0 for none. The reader sets the latter. */
	_Alignas(64) uint64_t ipis;
	uint64_t period_ns;
	/* The paced engine: on which CPU, set by the reader; and the thread that is there. */
	uint64_t cpu;
	uint64_t tid;
};

/* Functions that return int give 0 or an errno. */

/* So many pages behind a file descriptor, or NULL with errno set. */
struct canary_page *canary_map(int fd, int pages);

/* Give the calling thread the canary's name, its CPU and SCHED_OTHER. */
int canary_settle(int cpu);

void canary_publish(struct canary_page *page, const struct canary_sample *sample);

/* Look for gaps longer than `threshold_ns` and publish them, for `lifetime_s` seconds. */
int canary_watch(struct canary_page *page, int threshold_ns, int lifetime_s);

/* CLOCK_MONOTONIC in ns. */
uint64_t canary_clock_ns(void);

/* Knuth's MMIX generator: one multiplication and one addition that cannot start earlier. */
static inline uint64_t canary_step(uint64_t value)
{
	value = value * 6364136223846793005ull + 1442695040888963407ull;
	__asm__ volatile("" : "+r"(value)); /* or the compiler folds steps together */
	return value;
}

#endif

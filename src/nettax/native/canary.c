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

#if defined(__x86_64__) || defined(__i386__)
#include <x86intrin.h>
#endif

#define NSEC_PER_SEC 1000000000ull

/* About 4 µs: short beside any interruption that matters, long beside a publication. */
#define CHAIN_STEPS 3000
/* How often the gap engine publishes: so old may a reading be. */
#define PUBLISH_NS 50000
/* The first measurement of the counter's frequency; later ones span the whole run. */
#define FIRST_SPAN_NS 1000000
#define TRIES	      16

uint64_t canary_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static inline uint64_t cycle_counter(void)
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

struct canary_page *canary_map(int fd)
{
	void *page = mmap(NULL, sizeof(struct canary_page), PROT_READ | PROT_WRITE,
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

static void publish(struct canary_page *page, const struct canary_sample *sample)
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

/* Knuth's MMIX generator: one multiplication and one addition that cannot start earlier. */
static uint64_t chain(uint64_t value)
{
	for (int step = 0; step < CHAIN_STEPS; step++) {
		value = value * 6364136223846793005ull + 1442695040888963407ull;
		asm volatile("" : "+r"(value)); /* or the compiler folds steps together */
	}
	return value;
}

const size_t canary_page_size = sizeof(struct canary_page);
const size_t canary_sample_size = sizeof(struct canary_sample);

int canary_chain(int fd, int cpu, int lifetime_s)
{
	struct canary_page *page = canary_map(fd);
	struct canary_sample sample = {0};
	int error;

	if (!page)
		return errno;
	error = canary_settle(cpu);
	if (error)
		return error;

	uint64_t end = canary_clock_ns() + lifetime_s * NSEC_PER_SEC;

	do {
		sample.chain = chain(sample.chain);
		sample.iterations += CHAIN_STEPS;
		sample.cycles = cycle_counter();
		sample.ns = canary_clock_ns();
		publish(page, &sample);
	} while (sample.ns < end);
	return 0;
}

/* One moment on both clocks. */
struct instant {
	uint64_t ns;
	uint64_t cycles;
};

/* The closest pair of TRIES, so that an interruption between the two readings does no harm. */
static struct instant instant_now(void)
{
	uint64_t closest = UINT64_MAX;
	struct instant best = {0};

	for (int i = 0; i < TRIES; i++) {
		struct instant now;
		uint64_t apart;

		now.cycles = cycle_counter();
		now.ns = canary_clock_ns();
		apart = cycle_counter() - now.cycles;
		if (apart < closest) {
			closest = apart;
			best = now;
		}
	}
	return best;
}

static double ns_per_cycle(struct instant from, uint64_t ns, uint64_t cycles)
{
	return (double)(ns - from.ns) / (cycles - from.cycles);
}

static int bucket(uint64_t ns)
{
	int octave = ns < 8 ? 2 : 63 - __builtin_clzll(ns);
	int index = ((octave - 2) << 2) + (ns >> (octave - 2));

	return index < CANARY_BUCKETS ? index : CANARY_BUCKETS - 1;
}

/* What stamping and publishing take on this host, undisturbed, in cycles. */
static int64_t publication(struct canary_page *page, struct canary_sample *sample)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		uint64_t start = cycle_counter(), took;

		sample->cycles = start;
		sample->ns = canary_clock_ns();
		publish(page, sample);
		took = cycle_counter() - start;
		if (took < least)
			least = took;
	}
	return least;
}

int canary_watch(struct canary_page *page, int threshold_ns, int lifetime_s)
{
	struct canary_sample sample = {0};
	struct instant start = instant_now(), first;

	while (canary_clock_ns() - start.ns < FIRST_SPAN_NS)
		;
	first = instant_now();

	double scale = ns_per_cycle(start, first.ns, first.cycles);
	int64_t threshold = threshold_ns / scale;
	int64_t own = publication(page, &sample);
	uint64_t period = PUBLISH_NS / scale;
	uint64_t end = first.ns + lifetime_s * NSEC_PER_SEC;

	for (uint64_t last = cycle_counter(), due = last; sample.ns < end;) {
		uint64_t now = cycle_counter();
		int64_t gap = now - last;

		last = now;
		sample.iterations++;
		if (gap > threshold) {
			sample.gaps++;
			sample.gap_cycles += gap;
			sample.histogram[bucket(gap * scale)]++;
		}
		if (now < due)
			continue;
		sample.cycles = now;
		sample.ns = canary_clock_ns();
		/* Interrupted between the two clocks: no one moment. Stamp at the next turn. */
		if ((int64_t)(cycle_counter() - now) > threshold + own)
			continue;
		publish(page, &sample);
		scale = ns_per_cycle(start, sample.ns, sample.cycles);
		due = now + period;
		last += own; /* the canary's own work is no gap */
	}
	return 0;
}

int canary_gap(int fd, int cpu, int lifetime_s, int threshold_ns)
{
	struct canary_page *page = canary_map(fd);
	int error;

	if (!page)
		return errno;
	error = canary_settle(cpu);
	return error ? error : canary_watch(page, threshold_ns, lifetime_s);
}

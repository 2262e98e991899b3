// SPDX-License-Identifier: Apache-2.0
/*
 * The working-set engine: a loop that reads memory as programs do, and knows when it was
 * interrupted. What it does between interruptions, per time, falls when they leave its caches,
 * TLBs and predictors cold: their indirect cost.
 *
 * Programs do not read all of their memory alike. Their misses fall with the square root of the
 * cache (Hartstein, Srinivasan, Puzak, Emma: "Cache miss behavior: is it √2?", Computing Frontiers
 * 2006), so what is four times as large is visited half as often. That is the loop: the set is
 * divided into levels, each three times as large as all those below it, and step n goes to the
 * level whose number is the count of trailing zeros of n. Each level is one random cycle through
 * all of its lines (Sattolo's), which no prefetcher foresees, and each step waits for the one
 * before.
 *
 * A loop that visited all 256 MB alike would miss the caches nearly always, interrupted or not: it
 * has nothing to lose, and would show no indirect cost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "canary.h"
#include "meter.h"

#define LINE	   64ull
#define HUGE_PAGE  (2ull << 20)
#define MIN_LEVELS 4 /* those that a turn goes to itself */
#define MAX_LEVELS 32
#define SMALLEST   1024
/* By progress and not by time: so it costs an undisturbed loop and a disturbed one the same. */
#define PUBLISH_TURNS 1024
#define WARM_UP_NS    200000000
#define CHAIN_STEPS   48 /* a turn of the empty set: about as long as one of a small set */

struct working_set {
	char *memory;
	uint64_t at[MAX_LEVELS]; /* in each level, the line to read next: bytes from `memory` */
	int levels;
	uint64_t turns;
};

static uint64_t *link_at(char *memory, uint64_t at)
{
	return (uint64_t *)(memory + at);
}

/* Join `lines` lines from `at` on to one cycle in random order: Sattolo 1986. */
static void make_cycle(char *memory, uint64_t at, uint64_t lines)
{
	uint64_t random = at + lines;

	for (uint64_t i = 0; i < lines; i++)
		*link_at(memory, at + i * LINE) = at + i * LINE;
	for (uint64_t i = lines - 1; lines && i > 0; i--) {
		random = canary_step(random);
		/* The upper bits, which are the better ones, scaled to 0 … i − 1. */
		uint64_t *one = link_at(memory, at + i * LINE);
		uint64_t *other = link_at(memory, at + ((random >> 32) * i >> 32) * LINE);
		uint64_t kept = *one;

		*one = *other;
		*other = kept;
	}
}

/*
 * Lay out a set of `size` bytes, a multiple of the line, at least 4 KiB. Returns its levels, and
 * where each begins in `at`, the smallest first. Exported for its test.
 */
int working_set_build(char *memory, uint64_t size, uint64_t *at)
{
	uint64_t starts[MAX_LEVELS], begin = 0, left = size;
	int levels = 0;

	while (left > SMALLEST || levels < MIN_LEVELS - 1) {
		uint64_t part = left / 4 * 3 & -LINE;

		make_cycle(memory, begin, part / LINE);
		starts[levels++] = begin;
		begin += part;
		left -= part;
	}
	make_cycle(memory, begin, left / LINE);
	starts[levels++] = begin;
	for (int level = 0; level < levels; level++)
		at[level] = starts[levels - 1 - level];
	return levels;
}

/* A huge page is worth more than one TLB entry, so which pages there are is not left to chance. */
static char *take_memory(uint64_t size, int huge_pages)
{
	char *memory = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	memory = (char *)(((uintptr_t)memory + HUGE_PAGE - 1) & -HUGE_PAGE);
	madvise(memory, size, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return memory;
}

/* Should memory run out, let this process be the one to go. */
static void volunteer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1000", 4) != 4)
		errno = 0; /* no harm: then it goes by its size */
	close(fd);
}

/*
 * Sixteen steps: levels 0 1 0 2 0 1 0 3 0 1 0 2 0 1 0, and then 4 or above. `zero` is 0, which the
 * compiler cannot know: it makes each address depend on the step before.
 */
static inline void turn(struct working_set *set, uint64_t zero)
{
	const char *memory = set->memory;
	uint64_t a = set->at[0], b = set->at[1], c = set->at[2], d = set->at[3];
	int level = MIN_LEVELS + __builtin_ctzll(++set->turns);

#define STEP(at, last) ((at) = *(const uint64_t *)(memory + (at) + ((last)&zero)))
	STEP(a, 0);
	STEP(b, a);
	STEP(a, b);
	STEP(c, a);
	STEP(a, c);
	STEP(b, a);
	STEP(a, b);
	STEP(d, a);
	STEP(a, d);
	STEP(b, a);
	STEP(a, b);
	STEP(c, a);
	STEP(a, c);
	STEP(b, a);
	STEP(a, b);
	set->at[0] = a;
	set->at[1] = b;
	set->at[2] = c;
	set->at[3] = d;
	if (level >= set->levels)
		level = set->levels - 1;
	STEP(set->at[level], a);
#undef STEP
}

static inline void empty_turn(struct working_set *set)
{
	for (int step = 0; step < CHAIN_STEPS; step++)
		set->turns = canary_step(set->turns);
}

static void run(struct working_set *set, struct canary_page *page, int threshold_ns, int lifetime_s)
{
	struct canary_meter meter;
	uint64_t begin = canary_clock_ns(), end = begin + lifetime_s * NSEC_PER_SEC, zero = 0;

	__asm__("" : "+r"(zero));
	while (set->levels && canary_clock_ns() - begin < WARM_UP_NS)
		turn(set, zero);
	canary_meter_start(&meter, page, threshold_ns);
	for (uint64_t due = PUBLISH_TURNS; meter.sample.ns < end;) {
		uint64_t now;

		if (set->levels)
			turn(set, zero);
		else
			empty_turn(set);
		now = canary_cycles();
		canary_meter_turn(&meter, now);
		if (meter.sample.iterations >= due && canary_meter_publish(&meter, now))
			due = meter.sample.iterations + PUBLISH_TURNS;
	}
}

/* `kib`: the size in KiB; 0: a loop that uses no memory. */
int canary_working_set(int fd, int cpu, int lifetime_s, int threshold_ns, int kib, int huge_pages)
{
	struct canary_page *page = canary_map(fd, 1);
	struct working_set set = {0};
	uint64_t size = kib * 1024ull;
	int error;

	if (!page)
		return errno;
	error = canary_settle(cpu);
	if (error)
		return error;
	volunteer();
	if (size) {
		set.memory = take_memory(size, huge_pages);
		if (!set.memory)
			return errno;
		set.levels = working_set_build(set.memory, size, set.at);
	}
	run(&set, page, threshold_ns, lifetime_s);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "meter.h"

/* The first measurement of the counter's frequency; later ones span the whole run. */
#define FIRST_SPAN_NS 1000000
#define TRIES	      16

/* The closest pair of TRIES, so that an interruption between the two readings does no harm. */
static struct canary_instant instant_now(void)
{
	uint64_t closest = UINT64_MAX;
	struct canary_instant best = {0};

	for (int i = 0; i < TRIES; i++) {
		struct canary_instant now;
		uint64_t apart;

		now.cycles = canary_cycles();
		now.ns = canary_clock_ns();
		apart = canary_cycles() - now.cycles;
		if (apart < closest) {
			closest = apart;
			best = now;
		}
	}
	return best;
}

static double ns_per_cycle(struct canary_instant from, uint64_t ns, uint64_t cycles)
{
	return (double)(ns - from.ns) / (cycles - from.cycles);
}

int canary_bucket(uint64_t ns)
{
	int octave = ns < 8 ? 2 : 63 - __builtin_clzll(ns);
	int index = ((octave - 2) << 2) + (ns >> (octave - 2));

	return index < CANARY_BUCKETS ? index : CANARY_BUCKETS - 1;
}

static int64_t publication(struct canary_meter *meter)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		uint64_t start = canary_cycles(), took;

		meter->sample.cycles = start;
		meter->sample.ns = canary_clock_ns();
		canary_publish(meter->page, &meter->sample);
		took = canary_cycles() - start;
		if (took < least)
			least = took;
	}
	return least;
}

void canary_meter_start(struct canary_meter *meter, struct canary_page *page, int threshold_ns)
{
	struct canary_instant first;

	memset(meter, 0, sizeof(*meter));
	meter->page = page;
	meter->start = instant_now();
	while (canary_clock_ns() - meter->start.ns < FIRST_SPAN_NS)
		;
	first = instant_now();
	meter->scale = ns_per_cycle(meter->start, first.ns, first.cycles);
	meter->threshold = threshold_ns / meter->scale;
	meter->own = publication(meter);
	meter->last = canary_cycles();
}

bool canary_meter_publish(struct canary_meter *meter, uint64_t now)
{
	struct canary_sample *sample = &meter->sample;

	sample->cycles = now;
	sample->ns = canary_clock_ns();
	/* Interrupted between the two clocks: no one moment. Stamp at another turn. */
	if ((int64_t)(canary_cycles() - now) > meter->threshold + meter->own)
		return false;
	canary_publish(meter->page, sample);
	meter->scale = ns_per_cycle(meter->start, sample->ns, now);
	meter->last += meter->own; /* the canary's own work is no gap */
	return true;
}

// SPDX-License-Identifier: Apache-2.0
/* Both clocks at one moment, as closely as many tries can have them. */
#include "canary.h"
#include "meter.h"

#define TRIES 64

void nettax_instant(struct canary_instant *closest)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = canary_cycles(), ns = canary_clock_ns(), after = canary_cycles();

		if (after - before < least) {
			least = after - before;
			closest->ns = ns;
			closest->cycles = before + least / 2;
		}
	}
}

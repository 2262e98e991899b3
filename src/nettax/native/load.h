/* SPDX-License-Identifier: Apache-2.0 */
/* What the load engines share: their clock, their histogram, and how they tell of an error. */
#ifndef NETTAX_LOAD_H
#define NETTAX_LOAD_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define NSEC 1000000000ULL

/* 64 buckets an octave: a time is known to within 1.6 %. Exact to 128 ns; the last one, from
 * 2^42 ns = 73 minutes, is open. The reader's arithmetic is in nettax/load/histogram.py. */
#define LOAD_SUB     6
#define LOAD_BUCKETS 2432

#define LOAD_ERRNOS 134 /* EHWPOISON, 133, is Linux's last */

struct load_address {
	uint8_t bytes[128]; /* a sockaddr */
	uint32_t length;
	uint32_t pad;
};

struct load_histogram {
	uint64_t counts[LOAD_BUCKETS];
};

static inline uint64_t load_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC + now.tv_nsec;
}

static inline uint64_t load_cpu_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * NSEC + now.tv_nsec;
}

/* One writer, readers in other processes: plain stores that cannot tear. */
static inline void load_count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

static inline void load_error(uint64_t *errors, int error)
{
	load_count(&errors[error > 0 && error < LOAD_ERRNOS ? error : 0], 1);
}

static inline void load_record(struct load_histogram *histogram, uint64_t ns, uint64_t times)
{
	int shift = ns < (2 << LOAD_SUB) ? 0 : 63 - __builtin_clzll(ns) - LOAD_SUB;
	uint64_t index = ((uint64_t)shift << LOAD_SUB) + (ns >> shift);

	load_count(&histogram->counts[index < LOAD_BUCKETS ? index : LOAD_BUCKETS - 1], times);
}

/* The page behind a descriptor, which is `least` bytes long or longer; NULL with errno set. */
void *load_map(int fd, size_t least);

/* A socket that does not block and does not wait for more to send; -1 with errno set. */
int load_socket(const struct load_address *address, int type);

/* As many descriptors as this user may have. */
void load_raise_files(void);

#endif

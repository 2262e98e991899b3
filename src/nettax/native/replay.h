/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's rules over recorded events, one after the other; docs/ledger.md tells them.
 *
 * Nothing of it is shared with the programs in the kernel, nor with nettax.ledger: each is the
 * other's oracle. Any bytes may come as events: whatever they say, nothing here overruns.
 */
#ifndef NETTAX_REPLAY_H
#define NETTAX_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

#define REPLAY_TRIGGERS	  3
#define REPLAY_KTHREADS	  3
#define REPLAY_SLOTS	  40
#define REPLAY_HISTOGRAMS (EVENT_VECTORS + 2) /* softirqs by vector, hard IRQs, polls */

/* Of a task: the network's kernel threads first, as in KTHREADS of nettax.events.replay. */
enum {
	KIND_TASK = REPLAY_KTHREADS,
};

/* What a CPU comes to; CpuAccount of nettax.events.replay. Times in ns. */
struct replay_cpu_row {
	uint64_t cpu;
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t idle_ns;
	uint64_t idle_interrupted_ns;
	uint64_t own_ns;
	uint64_t stolen_hardirq_ns;
	uint64_t stolen_softirq_ns[EVENT_VECTORS];
	uint64_t kthread_ns[REPLAY_KTHREADS];
	uint64_t lost;
	uint64_t hard_ns;
	uint64_t soft_ns[EVENT_VECTORS];
	uint64_t soft_count[EVENT_VECTORS];
	uint64_t interrupts;
	uint64_t ipis;
	uint64_t polls;
	uint64_t packets;
	uint64_t softirq_packets;
	uint64_t switches;
	uint64_t unmatched;
	uint64_t inferred_ns;
};

enum {
	TASK_EXITED = 1,
	TASK_UNBILLED = 2, /* for some of its time nothing tells what it was billed */
};

/* What a task comes to; TaskRow of nettax.events.replay.machine. */
struct replay_task_row {
	int32_t pid;
	uint32_t life; /* 0: the first that had this pid */
	int32_t cpu;   /* where it was, */
	uint32_t flags;
	uint64_t last_ns; /* when it was last seen on a CPU or waiting for one */
	uint64_t oncpu_ns;
	uint64_t own_ns;
	uint64_t billed_ns;
	uint64_t hard_ns;
	uint64_t soft_ns[EVENT_VECTORS];
	uint64_t trigger_ns[REPLAY_TRIGGERS];
	uint64_t displaced_ns[REPLAY_KTHREADS];
	uint64_t wait_ns;
	uint64_t interrupts;
	uint64_t switches;
};

struct replay_totals {
	uint64_t cpus;
	uint64_t tasks;
	uint64_t events;
	uint64_t switches; /* recorded, whether accounted for or not */
	uint64_t lost;
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t histograms[REPLAY_HISTOGRAMS][REPLAY_SLOTS]; /* run times, log2 ns */
};

/* From `since_ns` on, a pid's task was of this kind. */
struct replay_name {
	uint64_t since_ns;
	uint64_t kind;
};

/* Functions that return int give 0 or an errno. Rows are given in order of CPU, and as tasks came.
 */
struct replay;
struct replay *replay_open(bool sliced);
void replay_close(struct replay *replay);
int replay_name(struct replay *replay, int32_t pid, const struct replay_name *names, size_t count);
int replay_feed(struct replay *replay, const struct event *events, size_t count);
int replay_finish(struct replay *replay);
/* Of events, names, totals, CPUs and tasks, in bytes. */
extern const size_t replay_sizes[5];
void replay_read(const struct replay *replay, struct replay_totals *out);
void replay_read_cpus(const struct replay *replay, struct replay_cpu_row *out);
void replay_read_tasks(const struct replay *replay, struct replay_task_row *out);

#endif

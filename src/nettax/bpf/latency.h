/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the latency tracer's kernel side and its user side share: where a time is counted. The user
 * side (nettax/functions/latency.py) reads the layouts from the object's BTF.
 */
#ifndef NETTAX_LATENCY_H
#define NETTAX_LATENCY_H

/* A chain of events; its stages are numbered from its number times NR_STAGES on, the whole first.
 * Functions come after the last of these, in the order in which they were asked for. */
enum chain {
	CHAIN_WORKQUEUE,
	CHAIN_SOFTIRQ,
	CHAIN_FORK,
	CHAIN_KTHREAD,
	CHAIN_TCP_READ,
	NR_CHAINS,
};

#define NR_STAGES 8

enum workqueue_stage { WORK_WHOLE, WORK_QUEUED, WORK_CALL, WORK_RUNNING, WORK_WAITING };
enum softirq_stage { SOFTIRQ_WHOLE, SOFTIRQ_RAISED, SOFTIRQ_CALL };
enum fork_stage { FORK_WHOLE, FORK_UNTIL_WOKEN, FORK_UNTIL_RUN };
enum kthread_stage {
	KTHREAD_WHOLE,
	KTHREAD_UNTIL_FORK,
	KTHREAD_UNTIL_RUN,
	KTHREAD_UNTIL_WAKE,
	KTHREAD_UNTIL_BACK
};
enum tcp_read_stage { READ_WHOLE, READ_UNTIL_WOKEN, READ_UNTIL_RUN, READ_UNTIL_READ };
enum function_stage { FUNCTION_WHOLE, FUNCTION_RUNNING, FUNCTION_WAITING };

/* What the calls are told apart by. */
enum by { BY_NOTHING, BY_PROCESS, BY_CGROUP, BY_ARGUMENT };

/* Log-linear: each octave in 2^SLOT_BITS slots; below 2^(SLOT_BITS + 1) ns each has its own. */
#define SLOT_BITS 5

struct slot_key {
	__u32 stage;
	__u32 slot;
	__u64 group; /* process id, cgroup id or argument; 0 */
};

struct slot {
	__u64 count;
	__u64 sum_ns;
	__u64 least_ns;
	__u64 most_ns;
};

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's types, as far as nettax reads them.
 *
 * Only the fields in use: CO-RE finds their offsets in the running kernel's own BTF, so neither a
 * generated vmlinux.h nor the kernel's headers are needed to build.
 */
#ifndef NETTAX_KERNEL_H
#define NETTAX_KERNEL_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp; /* the task's cgroup in the v2 hierarchy */
};

struct rq;

struct cfs_rq {
	struct rq *rq; /* the CPU's own, in its per-CPU variable `runqueues` */
};

struct sched_entity {
	struct cfs_rq *cfs_rq; /* with CONFIG_FAIR_GROUP_SCHED, as distributions have it */
	__u64
	    sum_exec_runtime; /* ns that the scheduler has charged: what utime + stime add up to */
};

struct thread_info {
	__u32 cpu;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state;
	unsigned int flags;
	struct sched_entity se;
	int pid;
	int tgid;
	__u64 start_boottime; /* ns since boot: /proc/PID/stat's field 22, unrounded */
	struct css_set *cgroups;
	char comm[16];
};

#pragma clang attribute pop

struct napi_struct;
struct irqaction;

#define PF_KTHREAD   0x00200000 /* include/linux/sched.h */
#define TASK_DEAD    0x00000080 /* include/linux/sched.h */
#define SOFTIRQ_MASK 0x0000ff00 /* include/linux/preempt.h: softirqs off, or being served */

#endif

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
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#ifdef NETTAX_RAW_TP
#define TP(name)	   SEC("?raw_tp/" #name)
#define READ(pointer, ...) BPF_CORE_READ(pointer, __VA_ARGS__)
#else
#define TP(name)			 SEC("?tp_btf/" #name)
#define ARROW1(p, a)			 ((p)->a)
#define ARROW2(p, a, b)			 ((p)->a->b)
#define ARROW3(p, a, b, c)		 ((p)->a->b->c)
#define ARROW4(p, a, b, c, d)		 ((p)->a->b->c->d)
#define ARROW(_1, _2, _3, _4, NAME, ...) NAME
#define READ(pointer, ...)		 ARROW(__VA_ARGS__, ARROW4, ARROW3, ARROW2, ARROW1)(pointer, __VA_ARGS__)
#endif

const volatile bool has_prev_state = true; /* sched_switch's fourth argument, since v5.18 */

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

struct rq {
	__u64 clock;	  /* ns, as of the scheduler's last look */
	__u64 clock_task; /* the same less the time for which no task is billed */
};

struct cfs_rq {
	struct rq *rq; /* the CPU's own, in its per-CPU variable `runqueues` */
};

struct sched_entity {
	struct cfs_rq *cfs_rq; /* with CONFIG_FAIR_GROUP_SCHED, as distributions have it */
	__u64 exec_start;      /* the run queue's clock_task up to which it is charged */
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
	int prio;
	struct sched_entity se;
	int pid;
	int tgid;
	__u64 start_boottime; /* ns since boot: /proc/PID/stat's field 22, unrounded */
	struct css_set *cgroups;
	void *worker_private; /* of a kernel thread: its struct kthread */
	char comm[16];
};

struct kthread {
	int (*threadfn)(void *data);
	void *data; /* of a workqueue's worker: its struct worker */
};

struct work_struct;

struct worker {
	void (*current_func)(struct work_struct *work); /* of the item that it runs; or NULL */
};

struct ns_common {
	unsigned int inum; /* what /proc/PID/ns/net is a link to */
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	char name[16];
	possible_net_t nd_net;
};

struct napi_struct {
	struct net_device *dev;
};

struct sk_buff {
	struct net_device *dev;
	unsigned int len;
	unsigned int data_len; /* of it, what is not between data and tail */
	__u16 mac_header;      /* from head */
	__u16 protocol;	       /* of network byte order, as is vlan_proto */
	__u16 vlan_proto;      /* 0: not tagged */
	__u16 vlan_tci;
	unsigned char *head;
	unsigned char *data;
};

struct sock_common {
	__u16 skc_num; /* local port */
};

struct sock {
	struct sock_common __sk_common;
};

struct work_struct {
	void (*func)(struct work_struct *work);
};

struct irqaction {
	const char *name; /* what /proc/interrupts shows at the end of the line */
};

#pragma clang attribute pop

#define PF_WQ_WORKER 0x00000020 /* include/linux/sched.h */
#define PF_KTHREAD   0x00200000 /* include/linux/sched.h */
#define TASK_DEAD    0x00000080 /* include/linux/sched.h */
#define TCP_CLOSE    7		/* include/net/tcp_states.h */
/* include/linux/preempt.h */
#define SOFTIRQ_MASK   0x0000ff00 /* softirqs off, or being served */
#define SOFTIRQ_SERVED 0x00000100
#define HARDIRQ_MASK   0x000f0000

#endif

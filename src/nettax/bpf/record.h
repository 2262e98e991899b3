/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the recorder's kernel side and its user side share. An event is the `EVENT` of
 * nettax/events/model.py, where its fields are explained; a test compares the two.
 */
#ifndef NETTAX_RECORD_H
#define NETTAX_RECORD_H

enum event_kind {
	HARDIRQ_ENTRY = 1,
	HARDIRQ_EXIT,
	VECTOR_ENTRY,
	VECTOR_EXIT,
	SOFTIRQ_RAISE,
	SOFTIRQ_ENTRY,
	SOFTIRQ_EXIT,
	NAPI_POLL,
	SWITCH,
	WAKEUP,
	MIGRATE,
	FORK,
	EXIT,
	PACKET,
	LOST,
	BEGIN,
	END,
};

enum event_flag { IRQ_EXIT = 1, BH_ENABLE = 2, PREEMPTED = 4, BILLED = 8, DEAD = 16 };

/* The `a` of VECTOR_ENTRY and VECTOR_EXIT. */
enum vector_name {
	VECTOR_call_function_single,
	VECTOR_call_function,
	VECTOR_reschedule,
	VECTOR_ipi,
	VECTOR_local_timer,
	VECTOR_irq_work,
	VECTOR_x86_platform_ipi,
	VECTOR_error_apic,
	VECTOR_spurious_apic,
	VECTOR_thermal_apic,
	VECTOR_threshold_apic,
	VECTOR_deferred_error_apic,
};

struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__s32 pid;
	__u16 cpu;
	__u8 kind;
	__u8 flags;
	__s32 id;
	__s32 a;
	__s32 b;
	__s32 c;
	__u64 value;
};

enum note_kind { NOTE_TASK = 1, NOTE_DEVICE };

/* Who a number in the events is: sent when it first appears, and when it comes to mean another. */
struct note {
	__u64 time_ns;
	__u32 kind;
	__u32 id;     /* pid; the device's number in this recording */
	__u32 number; /* tgid; ifindex */
	__u32 kthread;
	__u64 start_ns; /* since boot; 0 */
	__u64 group;	/* cgroup id; inode of the network namespace */
	char name[16];
};

#define NR_VECTORS 10 /* include/linux/interrupt.h */

/* Runs of softirqs, switches, and packets that passed netif_receive_skb, on a CPU. */
struct counts {
	__u32 softirqs[NR_VECTORS];
	__u32 switches;
	__u32 packets;
	__u32 tagged; /* of them, by a VLAN: the kernel may count them once more, without the tag */
};

/* What a CPU lost for want of room. */
struct lost_events {
	__u64 events;
	__u64 first_ns;
	__u64 last_ns;
	__u64 untold; /* those of them of which no LOST event tells yet */
};

#endif

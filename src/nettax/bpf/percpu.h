/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A CPU's own variables, and what they tell of the softirqs that it is about to run. */
#ifndef NETTAX_PERCPU_H
#define NETTAX_PERCPU_H

#include "kernel.h"

/* Where three variables are in a CPU's per-CPU area; the user side finds them in the kernel's BTF.
 * (Not as ksyms: those need CONFIG_KALLSYMS_ALL.) Without them, the trigger is unknown. */
const volatile bool has_percpu_offsets = false;
const volatile __u64 runqueues_offset = 0;
const volatile __u64 preempt_count_offset = 0;
const volatile __u64 softirq_pending_offset = 0;

/* Since v6.2: lends a pointer to read any address through. kernel/bpf/verifier.c numbers the
 * functions that it treats apart, so its enum tells whether it has this one. */
enum special_kfunc_type { KF_bpf_rdonly_cast };
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;

/* A word of this CPU's per-CPU variables: one load, or else a helper's call, which takes 50 ns. */
static __always_inline __u32 percpu(__u64 base, __u64 offset, __u32 size)
{
	void *address = (void *)(base + offset);
	__u32 word = 0;

	if (!bpf_core_enum_value_exists(enum special_kfunc_type, KF_bpf_rdonly_cast)) {
		bpf_probe_read_kernel(&word, size, address);
		return word;
	}
	/* It has to be some type of the kernel's; this one begins with a word of 64 bits. */
	address = bpf_rdonly_cast(address, bpf_core_type_id_kernel(struct thread_info));
	return size == sizeof(__u16) ? *(__u16 *)address : *(__u32 *)address;
}

/*
 * Which softirqs irq_exit is about to run (kernel/softirq.c, __irq_exit_rcu): those pending, unless
 * softirqs are off or being served where the interrupt came. If they are being served by an
 * irq_exit already, then that one runs the new ones too. Only x86 keeps both words in per-CPU
 * variables.
 */
static __always_inline __u32 runs_at_irq_exit(__u64 base, __u32 running)
{
	__u32 pending;

	if (!base)
		return 0;
	pending = running | percpu(base, softirq_pending_offset, sizeof(__u16));
	if (pending && percpu(base, preempt_count_offset, sizeof(__u32)) & SOFTIRQ_MASK)
		return running ? pending : 0;
	return pending;
}

/* The address of this CPU's area, found by its current task; 0: unknown. */
static __always_inline __u64 percpu_base(struct task_struct *current)
{
	if (has_percpu_offsets && bpf_core_field_exists(current->se.cfs_rq))
		return (__u64)current->se.cfs_rq->rq - runqueues_offset;
	return 0;
}

#endif

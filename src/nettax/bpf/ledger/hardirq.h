/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hard IRQs: the devices', the local timer's, and those by which CPUs call each other. */
#ifndef NETTAX_LEDGER_HARDIRQ_H
#define NETTAX_LEDGER_HARDIRQ_H

#include "cpu.h"

/* Since v6.2: lends a pointer to read any address through. kernel/bpf/verifier.c numbers the
 * functions that it treats apart, so its enum tells whether it has this one. */
enum special_kfunc_type { KF_bpf_rdonly_cast };
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;

/* A word of this CPU's per-CPU variables: one load, or else a helper's call, which takes 50 ns. */
static __always_inline __u32 percpu(struct cpu *c, __u64 offset, __u32 size)
{
	void *address = (void *)(c->percpu_base + offset);
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
static __always_inline __u32 runs_at_irq_exit(struct cpu *c)
{
	__u32 pending;

	if (!c->percpu_base)
		return 0;
	pending = c->pending | percpu(c, softirq_pending_offset, sizeof(__u16));
	if (pending && percpu(c, preempt_count_offset, sizeof(__u32)) & SOFTIRQ_MASK)
		return c->pending ? pending : 0;
	return pending;
}

static __always_inline int hard_enter(void)
{
	struct cpu *c = armed_cpu();

	if (c && c->hard_depth++ == 0)
		c->hard_t0 = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int hard_leave(bool ipi)
{
	struct cpu *c = armed_cpu();
	struct cpu_histograms *h;
	__u64 ns;

	if (!c)
		return 0;
	if (!c->hard_depth) {
		c->totals.unmatched += !c->hard_grace;
		c->hard_grace = false;
		return 0;
	}
	c->totals.ipis += ipi;
	if (--c->hard_depth) /* one interrupt may pass two tracepoints: arm64's IPIs do */
		return 0;
	c->totals.interrupts++;
	ns = bpf_ktime_get_ns() - c->hard_t0;
	c->totals.hardirq_ns += ns;
	/* Any softirq that this does not foretell is run by local_bh_enable. */
	if (!c->vector)
		c->pending = runs_at_irq_exit(c);
	if (want_histograms && (h = cpu_histograms()))
		h->hardirq[log2_slot(ns)]++;
	return 0;
}

TP(irq_handler_entry)
int BPF_PROG(irq_handler_entry)
{
	return hard_enter();
}

TP(irq_handler_exit)
int BPF_PROG(irq_handler_exit)
{
	return hard_leave(false);
}

/* Interrupts that never reach irq_handler_*: x86's vectors (arch/x86/include/asm/trace/
 * irq_vectors.h), and IPIs elsewhere (include/trace/events/ipi.h). */
#define VECTOR(name, ipi)                                                                          \
	TP(name##_entry) int BPF_PROG(name##_entry)                                                \
	{                                                                                          \
		return hard_enter();                                                               \
	}                                                                                          \
	TP(name##_exit) int BPF_PROG(name##_exit)                                                  \
	{                                                                                          \
		return hard_leave(ipi);                                                            \
	}

VECTOR(call_function_single, true)
VECTOR(call_function, true)
VECTOR(reschedule, true)
VECTOR(ipi, true)
VECTOR(local_timer, false)
VECTOR(irq_work, false)
VECTOR(x86_platform_ipi, false)
VECTOR(error_apic, false)
VECTOR(spurious_apic, false)
VECTOR(thermal_apic, false)
VECTOR(threshold_apic, false)
VECTOR(deferred_error_apic, false)

#endif

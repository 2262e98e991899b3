/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hard IRQs: the devices', the local timer's, and those by which CPUs call each other. */
#ifndef NETTAX_LEDGER_HARDIRQ_H
#define NETTAX_LEDGER_HARDIRQ_H

#include "../moments.h"
#include "cpu.h"

static __always_inline int hard_enter(void)
{
	struct cpu *c = armed_cpu();

	if (c && c->hard_depth++ == 0)
		c->hard_t0 = hard_now();
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
	ns = hard_now() - c->hard_t0;
	c->totals.hardirq_ns += ns;
	/* Any softirq that this does not foretell is run by local_bh_enable. */
	if (!c->vector)
		c->pending = runs_at_irq_exit(c->percpu_base, c->pending);
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

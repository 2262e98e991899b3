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

/* The end of an interrupt; its time, if it is the outermost. An exit without an entry is none. */
static __always_inline bool hard_leave(struct cpu *c, __u64 *ns)
{
	struct cpu_histograms *h;

	*ns = 0;
	if (!c->hard_depth) {
		c->totals.unmatched += !c->hard_grace;
		c->hard_grace = false;
		return false;
	}
	if (--c->hard_depth) /* one interrupt may pass two tracepoints: arm64's IPIs do */
		return true;
	c->totals.interrupts++;
	*ns = hard_now() - c->hard_t0;
	c->totals.hardirq_ns += *ns;
	/* Any softirq that this does not foretell is run by local_bh_enable. */
	if (!c->vector)
		c->pending = runs_at_irq_exit(c->percpu_base, c->pending);
	if (want_histograms && (h = cpu_histograms()))
		h->hardirq[log2_slot(*ns)]++;
	return true;
}

/* Where a numbered IRQ is counted: at its number, or within a few places from there. */
static __always_inline struct irq_line *line_of(struct cpu *c, __u32 irq, struct irqaction *action)
{
	for (__u32 i = 0; i < 8; i++) {
		struct irq_line *line = &c->irqs[(irq + i) % NR_LINES];

		if (line->action == (__u64)action && line->irq == irq)
			return line;
		if (line->action)
			continue;
		bpf_probe_read_kernel_str(line->name, sizeof(line->name), READ(action, name));
		line->irq = irq;
		*(volatile __u64 *)&line->action =
		    (__u64)action; /* last: whoever reads finds all */
		return line;
	}
	return NULL;
}

TP(irq_handler_entry)
int BPF_PROG(irq_handler_entry)
{
	return hard_enter();
}

TP(irq_handler_exit)
int BPF_PROG(irq_handler_exit, int irq, struct irqaction *action)
{
	struct cpu *c = armed_cpu();
	struct irq_line *line;
	__u64 ns;

	if (!c || !hard_leave(c, &ns))
		return 0;
	line = line_of(c, irq, action);
	if (line) {
		line->count++;
		line->ns += ns;
	} else {
		c->totals.apart_count[OTHER]++;
		c->totals.apart_ns[OTHER] += ns;
	}
	return 0;
}

static __always_inline int hard_leave_apart(enum apart which)
{
	struct cpu *c = armed_cpu();
	__u64 ns;

	if (!c || !hard_leave(c, &ns))
		return 0;
	c->totals.ipis += IS_IPI(which);
	if (!c->hard_depth) { /* else it has a number, too, and is counted there */
		c->totals.apart_count[which]++;
		c->totals.apart_ns[which] += ns;
	}
	return 0;
}

/* Interrupts that never reach irq_handler_*: x86's vectors (arch/x86/include/asm/trace/
 * irq_vectors.h), and IPIs elsewhere (include/trace/events/ipi.h). */
#define VECTOR(name, which)                                                                        \
	TP(name##_entry) int BPF_PROG(name##_entry)                                                \
	{                                                                                          \
		return hard_enter();                                                               \
	}                                                                                          \
	TP(name##_exit) int BPF_PROG(name##_exit)                                                  \
	{                                                                                          \
		return hard_leave_apart(which);                                                    \
	}

VECTOR(call_function_single, CAL)
VECTOR(call_function, CAL)
VECTOR(reschedule, RES)
VECTOR(ipi, IPI)
VECTOR(local_timer, LOC)
VECTOR(irq_work, IWI)
VECTOR(x86_platform_ipi, PLT)
VECTOR(error_apic, ERR)
VECTOR(spurious_apic, SPU)
VECTOR(thermal_apic, TRM)
VECTOR(threshold_apic, THR)
VECTOR(deferred_error_apic, DFR)

#endif

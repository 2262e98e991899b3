/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hard IRQs, IPIs and softirqs. */
#ifndef NETTAX_RECORD_INTERRUPT_H
#define NETTAX_RECORD_INTERRUPT_H

#include "ring.h"

static __always_inline int hard_entry(__u8 kind, __s32 id, __s32 name)
{
	struct cpu *c = armed_cpu();
	struct event *e;

	if (!c)
		return 0;
	e = open_event(c, kind, id);
	if (!e)
		return 0;
	e->a = name;
	leave_hard(submit(e));
	return 0;
}

static __always_inline int hard_exit(__u8 kind, __s32 id, __s32 a)
{
	struct cpu *c = armed_cpu();
	struct event e;

	if (!c)
		return 0;
	e = new_event(kind);
	leave_hard(e.time_ns);
	e.id = id;
	e.a = a;
	/* Any softirq that this does not foretell is run by local_bh_enable. */
	if (!c->serving)
		c->pending = runs_at_irq_exit(c->percpu_base, c->pending);
	emit_here(c, &e);
	return 0;
}

TP(irq_handler_entry)
int BPF_PROG(irq_handler_entry, int irq)
{
	return hard_entry(HARDIRQ_ENTRY, irq, 0);
}

TP(irq_handler_exit)
int BPF_PROG(irq_handler_exit, int irq, struct irqaction *action, int handled)
{
	return hard_exit(HARDIRQ_EXIT, irq, handled);
}

/* Interrupts that never reach irq_handler_*: x86's vectors (arch/x86/include/asm/trace/
 * irq_vectors.h), whose argument is the vector's number, and IPIs elsewhere
 * (include/trace/events/ipi.h), whose argument is a text. */
#define X86_VECTOR(name)                                                                           \
	TP(name##_entry) int BPF_PROG(name##_entry, int vector)                                    \
	{                                                                                          \
		return hard_entry(VECTOR_ENTRY, vector, VECTOR_##name);                            \
	}                                                                                          \
	TP(name##_exit) int BPF_PROG(name##_exit, int vector)                                      \
	{                                                                                          \
		return hard_exit(VECTOR_EXIT, vector, VECTOR_##name);                              \
	}

X86_VECTOR(call_function_single)
X86_VECTOR(call_function)
X86_VECTOR(reschedule)
X86_VECTOR(local_timer)
X86_VECTOR(irq_work)
X86_VECTOR(x86_platform_ipi)
X86_VECTOR(error_apic)
X86_VECTOR(spurious_apic)
X86_VECTOR(thermal_apic)
X86_VECTOR(threshold_apic)
X86_VECTOR(deferred_error_apic)

TP(ipi_entry)
int BPF_PROG(ipi_entry)
{
	return hard_entry(VECTOR_ENTRY, 0, VECTOR_ipi);
}

TP(ipi_exit)
int BPF_PROG(ipi_exit)
{
	return hard_exit(VECTOR_EXIT, 0, VECTOR_ipi);
}

TP(softirq_raise)
int BPF_PROG(softirq_raise, unsigned int vector)
{
	struct cpu *c = armed_cpu();
	struct event *e = c ? open_event(c, SOFTIRQ_RAISE, vector) : NULL;

	if (e)
		submit(e);
	return 0;
}

TP(softirq_entry)
int BPF_PROG(softirq_entry, unsigned int vector)
{
	struct cpu *c = armed_cpu();
	__u32 bit = 1 << (vector & 31);
	struct event *e;

	if (!c)
		return 0;
	if (vector < NR_VECTORS)
		c->traced.softirqs[vector]++;
	c->by_irq_exit = c->pending & bit;
	c->pending &= ~bit;
	c->serving = true;
	e = open_event(c, SOFTIRQ_ENTRY, vector);
	if (!e)
		return 0;
	if (c->percpu_base)
		e->flags = c->by_irq_exit ? IRQ_EXIT : BH_ENABLE;
	leave_soft(submit(e));
	return 0;
}

TP(softirq_exit)
int BPF_PROG(softirq_exit, unsigned int vector)
{
	struct cpu *c = armed_cpu();
	struct event e;

	if (!c)
		return 0;
	e = new_event(SOFTIRQ_EXIT);
	leave_soft(e.time_ns);
	e.id = vector;
	c->serving = false;
	if (c->by_irq_exit && c->percpu_base)
		/* raised meanwhile: the same loop runs them */
		c->pending |= percpu(c->percpu_base, softirq_pending_offset, sizeof(__u16));
	emit_here(c, &e);
	return 0;
}

#endif

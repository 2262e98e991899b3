// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The recorder's kernel side: each event, as it happens, into a ring buffer of its CPU.
 *
 * One ring per CPU: nobody waits for anybody, and within one they are in the order in which they
 * were written. An interrupt may come between the clock and the ring, so it can be that its events
 * lie before one of an earlier time; the times are right, and readers sort by them.
 *
 * Records are of one size and are never discarded, so that the user side can take a ring's content
 * as an array. Nobody is woken: the user side looks at its own times.
 *
 * Built twice, as the ledger is: with tp_btf, and with raw tracepoints.
 */
#include "record/switch.h"
#include "record/interrupt.h"
#include "record/packet.h"
#include "record/counts.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Run by the user side on the CPU in question, from an IPI or its own system call: recording
 * begins or ends there, or (0) what went untraced is told. */
SEC("raw_tp/mark")
int mark(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu *c = bpf_map_lookup_elem(&cpus, &cpu);
	__u32 kind = ctx->args[0];
	struct event e;

	if (!c)
		return 0;
	c->percpu_base = percpu_base(task);
	if (kind != BEGIN)
		count_untraced(c);
	e = new_event(kind);
	if (kind == BEGIN) {
		if (c->percpu_base) {
			__u32 count = percpu(c->percpu_base, preempt_count_offset, sizeof(__u32));

			e.a = !!(count & HARDIRQ_MASK);
			e.b = !!(count & SOFTIRQ_SERVED);
		}
		c->pending = 0;
		c->serving = e.b;
		if (task->pid)
			arrive(task, e.time_ns);
		emit(c, cpu, &e);
		c->armed = true;
		count_untraced(c);
	} else if (kind == END) {
		c->armed = false;
		if (task->pid)
			leave(task, &e);
		emit(c, cpu, &e);
	}
	return 0;
}

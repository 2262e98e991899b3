/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Calls of a kernel function, by kprobe and kretprobe, or by fentry and fexit. A call's end is
 * known by the stack, so that a return that was missed ends no other call. With kprobes on x86 the
 * stack pointer at the return is the one at the entry or up to two words above it, as the
 * trampoline of the kernel in question leaves it. With fentry and fexit both run in one frame of
 * BPF's trampoline, which calls the function: their contexts are at the same address.
 */
#ifndef NETTAX_LATENCY_FUNCTION_H
#define NETTAX_LATENCY_FUNCTION_H

#include <linux/ptrace.h>
#include "calls.h"

#define SLACK 16 /* bytes */

/* Else the compiler would load from one computed address, which no verifier takes. */
#define HERE(value) asm volatile("" : "+r"(value))

static __always_inline __u64 argument(struct pt_regs *ctx)
{
	__u64 a = PT_REGS_PARM1(ctx), b = PT_REGS_PARM2(ctx), c = PT_REGS_PARM3(ctx);
	__u64 d = PT_REGS_PARM4(ctx), e = PT_REGS_PARM5(ctx);

	HERE(a);
	HERE(b);
	HERE(c);
	HERE(d);
	HERE(e);
	return by_argument == 1	  ? a
	       : by_argument == 2 ? b
	       : by_argument == 3 ? c
	       : by_argument == 4 ? d
				  : e;
}

static __always_inline void call_ends(struct calls *c, struct frame *f, __u64 now)
{
	__u64 away = c->away_ns - f->away0;
	__u32 stage = (NR_CHAINS + f->queued) * NR_STAGES;

	record(stage + FUNCTION_WHOLE, f->group, f->began, now);
	record(stage + FUNCTION_RUNNING, f->group, f->began + away, now);
	record(stage + FUNCTION_WAITING, f->group, 0, away);
}

SEC("?kprobe/function_entry")
int function_entry(struct pt_regs *ctx)
{
	struct calls *c = calls_here(true);
	__u64 group, number;

	if (!c)
		return 0;
	group = group_here(by == BY_ARGUMENT ? argument(ctx) : 0);
	number = bpf_get_attach_cookie(ctx);
	push_on(c, PT_REGS_SP(ctx), bpf_ktime_get_ns(), number, group); /* the clock comes last */
	return 0;
}

SEC("?kretprobe/function_return")
int function_return(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	struct calls *c = calls_here(false);
	struct frame *f;

	if (!c) {
		DOUBT(unmatched);
		return 0;
	}
	f = pop(c, PT_REGS_SP(ctx), SLACK);
	if (f)
		call_ends(c, f, now);
	return 0;
}

const volatile __u32 traced_number = 0; /* of the function that these two are attached to */

/* Of a pointer the verifier wants no arithmetic; the distance from the task's calls is a number. */
static __always_inline __u64 frame_of(void *ctx, struct calls *c)
{
	__u64 distance = (__u64)ctx - (__u64)c;

	HERE(distance);
	return distance;
}

SEC("?fentry/traced_entry")
int traced_entry(void *ctx)
{
	struct calls *c = calls_here(true);
	__u64 value = 0;

	if (!c)
		return 0;
	if (by == BY_ARGUMENT)
		bpf_get_func_arg(ctx, by_argument - 1, &value);
	value = group_here(value);
	push_on(c, frame_of(ctx, c), bpf_ktime_get_ns(), traced_number, value);
	return 0;
}

SEC("?fexit/traced_return")
int traced_return(void *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	struct calls *c = calls_here(false);
	struct frame *f;

	if (!c) {
		DOUBT(unmatched);
		return 0;
	}
	f = pop(c, frame_of(ctx, c), 0);
	if (f)
		call_ends(c, f, now);
	return 0;
}

#endif

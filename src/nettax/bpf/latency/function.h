/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Calls of a kernel function, by kprobe and kretprobe. A call's end is known by the stack: on x86
 * the stack pointer at the return is the one at the entry or up to two words above it, as the
 * trampoline of the kernel in question leaves it. So a return that was missed ends no other call.
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

SEC("?kprobe/function_entry")
int function_entry(struct pt_regs *ctx)
{
	push(PT_REGS_SP(ctx), bpf_ktime_get_ns(), bpf_get_attach_cookie(ctx),
	     group_here(by == BY_ARGUMENT ? argument(ctx) : 0));
	return 0;
}

SEC("?kretprobe/function_return")
int function_return(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns(), away;
	struct calls *c = calls_here(false);
	struct frame *f;
	__u32 stage;

	if (!c) {
		DOUBT(unmatched);
		return 0;
	}
	f = pop(c, PT_REGS_SP(ctx), SLACK);
	if (!f)
		return 0;
	away = c->away_ns - f->away0;
	stage = (NR_CHAINS + f->queued) * NR_STAGES;
	record(stage + FUNCTION_WHOLE, f->group, f->began, now);
	record(stage + FUNCTION_RUNNING, f->group, f->began + away, now);
	record(stage + FUNCTION_WAITING, f->group, 0, away);
	return 0;
}

#endif

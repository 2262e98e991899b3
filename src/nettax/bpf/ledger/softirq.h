/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Softirqs, by vector and by what ran them, and the NAPI polls inside NET_RX. */
#ifndef NETTAX_LEDGER_SOFTIRQ_H
#define NETTAX_LEDGER_SOFTIRQ_H

#include "hardirq.h"
#include "slice.h"

/* Interrupts are on around softirqs: a hard IRQ between the two loads below would be counted on
 * both sides, so look again when the counter has moved. */
static __always_inline __u64 now_beside(struct cpu *c, __u64 *hard_ns)
{
	volatile __s64 *counter = &c->totals.hardirq_ns;
	__u64 now;

	*hard_ns = *counter;
	now = soft_now();
	if (*counter != (__s64)*hard_ns) {
		*hard_ns = *counter;
		now = soft_now();
	}
	return now;
}

TP(softirq_entry)
int BPF_PROG(softirq_entry, unsigned int vector)
{
	struct cpu *c = armed_cpu();
	__u32 bit = 1 << (vector & 31);

	if (!c)
		return 0;
	heal(c);
	if (!c->percpu_base)
		c->trigger = TRIGGER_UNKNOWN;
	else if (c->pending & bit)
		c->trigger = TRIGGER_IRQ_EXIT;
	else
		c->trigger = TRIGGER_BH_ENABLE;
	c->pending &= ~bit;
	c->soft_t0 = now_beside(c, &c->soft_h0);
	c->poll_t0 = c->soft_t0;
	c->poll_h0 = c->soft_h0;
	c->vector = vector + 1;
	return 0;
}

TP(softirq_exit)
int BPF_PROG(softirq_exit, unsigned int vector)
{
	struct cpu *c = armed_cpu();
	struct cpu_histograms *h;
	__u64 now, hard_ns;
	__s64 ns;

	if (!c)
		return 0;
	if (c->vector != vector + 1 || vector >= NR_VECTORS) {
		c->totals.unmatched += !c->soft_grace;
		c->soft_grace = false;
		c->vector = 0;
		return 0;
	}
	/* A reading that comes in here, by IPI, must not find it neither in flight nor booked. */
	*(volatile bool *)&c->booking = true;
	now = now_beside(c, &hard_ns);
	ns = (now - c->soft_t0) - (hard_ns - c->soft_h0);
	c->vector = 0;
	c->totals.softirq_ns[vector] += ns;
	c->totals.softirq_count[vector]++;
	if (c->trigger < NR_TRIGGERS)
		c->totals.trigger_ns[c->trigger] += ns;
	c->soft_ns += ns;
	asm volatile("" ::: "memory");
	*(volatile bool *)&c->booking = false;
	if (c->trigger == TRIGGER_IRQ_EXIT)
		/* raised meanwhile: the same loop runs them */
		c->pending |= percpu(c->percpu_base, softirq_pending_offset, sizeof(__u16));
	if (want_histograms && (h = cpu_histograms()))
		h->softirq[vector][log2_slot(ns)]++;
	return 0;
}

TP(napi_poll)
int BPF_PROG(napi_poll, struct napi_struct *napi, int work, int budget)
{
	struct cpu *c = armed_cpu();
	struct cpu_histograms *h;
	__u64 now, hard_ns;

	if (!c)
		return 0;
	c->totals.polls++;
	c->totals.packets += work;
	if (c->vector == NET_RX + 1)
		c->totals.softirq_packets += work;
	/* The event comes after the poll; the poll began where the one before it ended. */
	if (want_histograms && c->vector == NET_RX + 1 && (h = cpu_histograms())) {
		now = now_beside(c, &hard_ns);
		h->poll[log2_slot((now - c->poll_t0) - (hard_ns - c->poll_h0))]++;
		c->poll_t0 = now;
		c->poll_h0 = hard_ns;
	}
	return 0;
}

#endif

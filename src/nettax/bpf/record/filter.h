/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The beginning of a packet as an Ethernet frame, and the user's filter on it.
 *
 * The filter is translated by the user side (nettax/kernel/pcap.py) and written over the no-ops
 * below before the object is loaded; without a filter nothing calls them.
 */
#ifndef NETTAX_RECORD_FILTER_H
#define NETTAX_RECORD_FILTER_H

#include "ring.h"

#define FILTER_BYTES 256  /* SNAP of pcap.py */
#define FILTER_SLOT  2048 /* SLOT of pcap.py */
#define STRINGIFY(x) #x
#define NO_OPS(n)    ".rept " STRINGIFY(n) "\n goto +0\n .endr\n"

#define TAGGED	 18 /* bytes of an Ethernet header with a VLAN tag */
#define UNTAGGED 14

const volatile bool has_filter = false;

/* A frame's network header is at TAGGED, and its link header ends there. */
struct frame {
	__u8 bytes[FILTER_BYTES + TAGGED - UNTAGGED];
};

/* By CPU; one more for tests. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct frame);
} frames SEC(".maps");

/* Not 0: the frame of so many bytes, of which so many were captured, matches. */
static __attribute__((naked, noinline)) __u64 matches(const __u8 *data, __u64 captured, __u64 wire)
{
	asm volatile(NO_OPS(FILTER_SLOT) "r0 = 0\n exit\n");
}

/* Returns how many bytes of the network's part could be read. What is not in the packet's linear
 * part, which holds the headers, is not looked at. */
static __always_inline __u64 read_frame(struct sk_buff *skb, struct frame *frame)
{
	unsigned char *data = READ(skb, data);
	__u64 linear = READ(skb, len) - READ(skb, data_len);
	__u64 link = data - (READ(skb, head) + READ(skb, mac_header));
	__u16 tag = READ(skb, vlan_proto), number = bpf_htons(READ(skb, vlan_tci));
	__u16 protocol = READ(skb, protocol);
	__u8 *start = frame->bytes + (tag ? 0 : TAGGED - UNTAGGED);

	if (linear > FILTER_BYTES - TAGGED)
		linear = FILTER_BYTES - TAGGED;
	asm volatile("" : "+r"(linear));
	if (linear > FILTER_BYTES - TAGGED ||
	    bpf_probe_read_kernel(frame->bytes + TAGGED, linear, data))
		linear = 0;
	/* A device without link headers, such as a tun: addresses of zeroes. */
	if (link < UNTAGGED || link > 64 || bpf_probe_read_kernel(start, 12, data - link))
		__builtin_memset(start, 0, 12);
	if (tag) {
		__builtin_memcpy(frame->bytes + 12, &tag, 2);
		__builtin_memcpy(frame->bytes + 14, &number, 2);
	}
	__builtin_memcpy(frame->bytes + TAGGED - 2, &protocol, 2);
	return linear;
}

static __always_inline bool frame_matches(struct frame *frame, bool tagged, __u64 network,
					  __u64 length)
{
	__u64 link = tagged ? TAGGED : UNTAGGED;

	return matches(frame->bytes + TAGGED - link, link + network, link + length);
}

#endif

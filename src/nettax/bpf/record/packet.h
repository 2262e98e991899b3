/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* NAPI polls and packets, and the devices they are of. */
#ifndef NETTAX_RECORD_PACKET_H
#define NETTAX_RECORD_PACKET_H

#include "filter.h"

const volatile __s32 only_ifindex = 0; /* record polls and packets of this device alone, */
const volatile __u32 only_netns = 0;   /* in this network namespace (its inode) */

struct known_device {
	__u32 number;
	__s32 ifindex;
};

/* By address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct known_device);
} known_devices SEC(".maps");

__u32 devices_numbered = 0;

static __noinline __u32 tell_device(struct net_device *device)
{
	struct known_device known = {.ifindex = READ(device, ifindex)};
	struct note note = {
	    .time_ns = bpf_ktime_get_ns(),
	    .kind = NOTE_DEVICE,
	    .number = known.ifindex,
	    .group = READ(device, nd_net.net, ns.inum),
	};
	__u64 address = (__u64)device;

	known.number = note.id = __sync_fetch_and_add(&devices_numbered, 1) + 1;
	bpf_probe_read_kernel_str(note.name, sizeof(note.name), &device->name);
	if (send(&note))
		bpf_map_update_elem(&known_devices, &address, &known, BPF_ANY);
	return note.id;
}

/* A device's number in this recording; 0: none, as of the backlog's polls. */
static __always_inline __u32 number_of(struct net_device *device)
{
	__u64 address = (__u64)device;
	struct known_device *known;

	if (!device)
		return 0;
	known = bpf_map_lookup_elem(&known_devices, &address);
	if (known && known->ifindex == READ(device, ifindex))
		return known->number;
	return tell_device(device);
}

static __always_inline bool wanted(struct net_device *device)
{
	return !only_ifindex || (device && READ(device, ifindex) == only_ifindex &&
				 READ(device, nd_net.net, ns.inum) == only_netns);
}

/* IP protocol and destination port of a packet; 0 where it has none. */
static __always_inline void find_port(const struct frame *frame, __u64 network, struct event *e)
{
	const __u8 *ip = frame->bytes + TAGGED;
	__u64 at = 0;

	if (network >= 20 && ip[0] >> 4 == 4) {
		e->b = ip[9];
		/* Only the first fragment has ports. */
		if (!((ip[6] & 0x1f) | ip[7]))
			at = (ip[0] & 15) * 4;
	} else if (network >= 40 && ip[0] >> 4 == 6) {
		e->b = ip[6];
		at = 40;
	}
	if ((e->b == IPPROTO_TCP || e->b == IPPROTO_UDP) && at && at + 4 <= network)
		e->c = ip[at + 2] << 8 | ip[at + 3];
}

static __always_inline bool is_tagged(struct sk_buff *skb)
{
	__u16 protocol = READ(skb, protocol);

	return READ(skb, vlan_proto) || protocol == bpf_htons(ETH_P_8021Q) ||
	       protocol == bpf_htons(ETH_P_8021AD);
}

/* Loaded only when packets are asked for. */
TP(netif_receive_skb)
int BPF_PROG(netif_receive_skb, struct sk_buff *skb)
{
	struct net_device *device = READ(skb, dev);
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu *c = armed_cpu();
	struct frame *frame;
	__u64 network, length;
	struct event e;

	if (!c)
		return 0;
	c->traced.packets++;
	c->traced.tagged += is_tagged(skb);
	if (!wanted(device))
		return 0;
	frame = bpf_map_lookup_elem(&frames, &cpu);
	if (!frame)
		return 0;
	network = read_frame(skb, frame);
	length = READ(skb, len);
	if (has_filter && !frame_matches(frame, READ(skb, vlan_proto), network, length))
		return 0;
	e = new_event(PACKET);
	e.id = number_of(device);
	e.a = length;
	find_port(frame, network, &e);
	emit_here(c, &e);
	return 0;
}

/* For tests: what the filter says of a frame that the user side put there, given how much of it
 * there is. */
SEC("raw_tp/try_filter")
int try_filter(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 captured = ctx->args[0], length = ctx->args[1];
	__u32 slot = ctx->args[2];
	struct frame *frame = bpf_map_lookup_elem(&frames, &slot);

	if (!frame || !has_filter || captured > FILTER_BYTES)
		return -1;
	return !!matches(frame->bytes, captured, length);
}

TP(napi_poll)
int BPF_PROG(napi_poll, struct napi_struct *napi, int work, int budget)
{
	struct net_device *device = READ(napi, dev);
	struct cpu *c = armed_cpu();
	struct event e;

	if (!c || !wanted(device))
		return 0;
	e = new_event(NAPI_POLL);
	e.id = number_of(device);
	e.a = work;
	e.b = budget;
	e.value = (__u64)napi;
	emit_here(c, &e);
	return 0;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* TCP: data received, the reader woken, running, and the data read. */
#ifndef NETTAX_LATENCY_TCP_READ_H
#define NETTAX_LATENCY_TCP_READ_H

#include "slots.h"

/* A socket with data that nobody has read yet. */
struct unread {
	__u64 received; /* the first of it */
	__u64 woken;	/* 0: nobody slept for it */
	__u64 ran;
	__u32 reader; /* the pid that was woken */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64); /* its address */
	__type(value, struct unread);
} unread SEC(".maps");

/* Which socket a task was woken for, until it runs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} readers SEC(".maps");

/* The socket whose data is being delivered on this CPU: who is woken next is woken for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} delivering SEC(".maps");

static __always_inline void deliver(__u64 socket)
{
	__u32 zero = 0;
	__u64 *here = bpf_map_lookup_elem(&delivering, &zero);

	if (here)
		*here = socket;
}

TP(tcp_probe)
int BPF_PROG(tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	struct unread u = {};
	__u64 key = (__u64)sk;
	__u8 offset = 0;

	/* The segment begins with its header, whose length is in its 13th byte, in words. */
	bpf_probe_read_kernel(&offset, sizeof(offset), READ(skb, data) + 12);
	if (READ(skb, len) <= (offset >> 4) * 4U) {
		deliver(0); /* nothing but an acknowledgement */
		return 0;
	}
	deliver(key);
	if (bpf_map_lookup_elem(&unread, &key))
		return 0;
	u.received = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&unread, &key, &u, BPF_NOEXIST))
		DOUBT(no_room);
	return 0;
}

static __always_inline void reads_waking(struct task_struct *task, __u64 now)
{
	__u32 zero = 0, pid = READ(task, pid);
	__u64 *here = bpf_map_lookup_elem(&delivering, &zero);
	struct unread *u;
	__u64 key;

	if (!here || !*here)
		return;
	key = *here;
	*here = 0;
	u = bpf_map_lookup_elem(&unread, &key);
	if (!u || u->woken)
		return;
	u->woken = now;
	u->reader = pid;
	bpf_map_update_elem(&readers, &pid, &key, BPF_ANY);
}

static __always_inline void reads_switch(__u32 pid, __u64 now)
{
	__u64 *key = bpf_map_lookup_elem(&readers, &pid);
	struct unread *u;

	if (!key)
		return;
	u = bpf_map_lookup_elem(&unread, key);
	if (u && u->reader == pid)
		u->ran = now;
	bpf_map_delete_elem(&readers, &pid);
}

TP(tcp_rcv_space_adjust)
int BPF_PROG(tcp_rcv_space_adjust, struct sock *sk)
{
	const __u32 stage = CHAIN_TCP_READ * NR_STAGES;
	__u64 key = (__u64)sk, now = bpf_ktime_get_ns(), group;
	struct unread *u = bpf_map_lookup_elem(&unread, &key);

	if (!u)
		return 0; /* data that came before the trace, or the rest of some that is counted */
	group = group_here(READ(sk, __sk_common.skc_num));
	record(stage + READ_WHOLE, group, u->received, now);
	if (u->ran && u->reader == (__u32)bpf_get_current_pid_tgid()) {
		record(stage + READ_UNTIL_WOKEN, group, u->received, u->woken);
		record(stage + READ_UNTIL_RUN, group, u->woken, u->ran);
		record(stage + READ_UNTIL_READ, group, u->ran, now);
	}
	bpf_map_delete_elem(&unread, &key);
	return 0;
}

/* It has gone, and another may get its address. */
TP(inet_sock_set_state)
int BPF_PROG(inet_sock_set_state, struct sock *sk, int from, int to)
{
	__u64 key = (__u64)sk;

	if (to == TCP_CLOSE && !bpf_map_delete_elem(&unread, &key))
		DOUBT(abandoned);
	return 0;
}

#endif

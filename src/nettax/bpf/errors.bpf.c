// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What sending and receiving failed with, by process: counts of errnos, and nothing per packet.
 *
 * sock_send_length and sock_recv_length are in v6.3 and later (Linux commit 6e6eda44b939, "sock:
 * add tracepoint for send recv length"); they tell each call's result, whichever system call it
 * was.
 */
#include "kernel.h"

struct sock;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EAGAIN	  11 /* no error: there is nothing, or no room, now */
#define MAX_KNOWN 133
#define PROCESSES 4096

enum operation { SEND, RECEIVE };

struct failure {
	__u32 tgid;
	__u16 operation;
	__u16 error;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCESSES);
	__type(key, struct failure);
	__type(value, __u64);
} failures SEC(".maps");

static __always_inline int note(int result, __u16 operation)
{
	struct failure key = {.operation = operation};
	__u64 one = 1, *count;

	if (result >= 0 || result == -EAGAIN || result < -MAX_KNOWN)
		return 0;
	key.tgid = bpf_get_current_pid_tgid() >> 32;
	key.error = -result;
	count = bpf_map_lookup_elem(&failures, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else if (bpf_map_update_elem(&failures, &key, &one, BPF_NOEXIST))
		return 0; /* full */
	return 0;
}

TP(sock_send_length)
int BPF_PROG(on_send, struct sock *sk, int result, int flags)
{
	return note(result, SEND);
}

TP(sock_recv_length)
int BPF_PROG(on_receive, struct sock *sk, int result, int flags)
{
	return note(result, RECEIVE);
}

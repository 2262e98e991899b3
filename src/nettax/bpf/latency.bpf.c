// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The latency tracer's kernel side: how long calls and chains of events take, counted where they
 * end, in histograms of the kernel's own. No event reaches user space.
 *
 * Each chain pairs its events by what they are about: a work item, a task, a socket, a CPU's
 * vector; calls by a stack for each task. The scheduler's events are shared by all that need them.
 *
 * Built twice, as the ledger is: with tp_btf, and with raw tracepoints.
 */
#include "latency/workqueue.h"
#include "latency/softirq.h"
#include "latency/birth.h"
#include "latency/tcp_read.h"
#include "latency/function.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile bool follows_functions = false;

/* So that the object's BTF tells the user side what these are. */
struct slot_key *of_key __attribute__((unused));
enum chain *of_chain __attribute__((unused));
enum by *of_by __attribute__((unused));
enum workqueue_stage *of_workqueue __attribute__((unused));
enum softirq_stage *of_softirq __attribute__((unused));
enum fork_stage *of_fork __attribute__((unused));
enum kthread_stage *of_kthread __attribute__((unused));
enum tcp_read_stage *of_tcp_read __attribute__((unused));
enum function_stage *of_function __attribute__((unused));

TP(sched_switch)
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 pid = READ(next, pid);

	if (follows(CHAIN_WORKQUEUE) || follows_functions)
		calls_switch(prev, next, now);
	if (!pid)
		return 0;
	if (follows(CHAIN_FORK) || follows(CHAIN_KTHREAD))
		births_switch(pid, now);
	if (follows(CHAIN_KTHREAD))
		requests_switch(pid, now);
	if (follows(CHAIN_TCP_READ))
		reads_switch(pid, now);
	return 0;
}

/* Not sched_wakeup, which may come in the woken one's CPU, from whatever runs there. */
TP(sched_waking)
int BPF_PROG(sched_waking, struct task_struct *task)
{
	__u64 now = bpf_ktime_get_ns();

	if (follows(CHAIN_KTHREAD))
		births_waking(task, now);
	if (follows(CHAIN_TCP_READ))
		reads_waking(task, now);
	return 0;
}

TP(sched_process_exit)
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	__u32 pid = READ(task, pid);

	if (follows(CHAIN_WORKQUEUE) || follows_functions)
		calls_exit(pid);
	if (follows(CHAIN_FORK) || follows(CHAIN_KTHREAD))
		births_exit(pid);
	if (follows(CHAIN_KTHREAD))
		requests_end(pid);
	return 0;
}

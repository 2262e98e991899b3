// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The ledger's kernel side: every nanosecond of every CPU, on exactly one account.
 *
 * A CPU has three levels of context, and each level's programs write only that level's state:
 *
 *   hard IRQ   entry..exit of handlers and IPIs; adds to totals.hardirq_ns
 *   softirq    entry..exit of a vector, less the hard IRQs inside it; adds to totals.softirq_ns
 *   slice      from one sched_switch to the next; on-CPU time of one task
 *
 * The upper two only count upwards. A slice remembers where the counters stood when it began, so
 * closing it is a subtraction: own = slice - hard IRQs - softirqs, and the interrupted task is
 * charged then, once per switch and not once per interrupt. Nothing needs a lock or an atomic.
 *
 * A reading (`settle`) runs on the CPU that it reads, closes the slice in flight, counts what is in
 * flight on the upper levels without touching it, and leaves a copy for the user side. No event
 * ever reaches user space.
 *
 * Built twice: with BTF-typed tracepoints (tp_btf), and, under NETTAX_RAW_TP, with raw tracepoints
 * for kernels that refuse to attach by BTF.
 */
#include "kernel.h"
#include "ledger.h"

#ifdef NETTAX_RAW_TP
#define TP(name)		SEC("?raw_tp/" #name)
#define READ(pointer, ...)	BPF_CORE_READ(pointer, __VA_ARGS__)
#else
#define TP(name)		SEC("?tp_btf/" #name)
#define ARROW1(p, a)		((p)->a)
#define ARROW2(p, a, b)		((p)->a->b)
#define ARROW4(p, a, b, c, d)	((p)->a->b->c->d)
#define ARROW(_1, _2, _3, _4, NAME, ...) NAME
#define READ(pointer, ...)                                                                         \
	ARROW(__VA_ARGS__, ARROW4, , ARROW2, ARROW1)(pointer, __VA_ARGS__)
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile bool want_histograms = false;
const volatile bool has_prev_state = true; /* sched_switch's fourth argument, since v5.18 */
const volatile __u32 drop_every = 0;	   /* tests: lose every Nth event */
const volatile __u32 followed_pid = 0;	   /* mark this task and its descendants */

/* Where three variables are in a CPU's per-CPU area; the user side finds them in the kernel's BTF.
 * (Not as ksyms: those need CONFIG_KALLSYMS_ALL.) Without them, the trigger is unknown. */
const volatile bool has_percpu_offsets = false;
const volatile __u64 runqueues_offset = 0;
const volatile __u64 preempt_count_offset = 0;
const volatile __u64 softirq_pending_offset = 0;

__u64 tasks_created = 0;

struct cpu {
	__u64 percpu_base; /* address of this CPU's per-CPU area; 0: unknown */
	/* hard IRQ level */
	__u64 hard_t0;
	__u32 hard_depth;
	__u32 pending; /* vectors that irq_exit is about to run */
	/* softirq level */
	__u64 soft_t0;
	__u64 soft_h0; /* hardirq_ns at soft_t0 */
	__s64 soft_ns; /* sum of totals.softirq_ns */
	__u64 poll_t0;
	__u64 poll_h0;
	__u32 vector; /* plus one; 0: none */
	__u32 trigger;
	/* slice: the task that is on the CPU, and the counters when it came */
	struct task_key task;
	__u64 task_address;
	__u64 t0;
	__u64 h0;
	__s64 s0;
	__u64 billed0;
	__u64 interrupts0;
	__s64 vector0[NR_VECTORS];
	__s64 trigger0[NR_TRIGGERS];
	__u32 kind;
	/* the exits of a hard IRQ and a softirq that were under way at arming are expected */
	bool hard_grace;
	bool soft_grace;
	__u64 dropped;
	/*
	 * How long each kind of network kernel thread has run here, readable from other CPUs in
	 * one load: stopped, a duration in ns; running, RUNNING plus the time to subtract from now.
	 */
	__u64 clock[NR_KTHREADS];
	struct cpu_totals totals; /* live */
	struct cpu_totals reading;
};

#define RUNNING (1ULL << 63)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* the user side sets the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct task_key);
	__type(value, struct task_account);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_histograms);
} histograms SEC(".maps");

static const struct task_account no_account;

static __always_inline struct cpu *cpu_state(__u32 cpu)
{
	return bpf_map_lookup_elem(&cpus, &cpu);
}

/* This CPU's state, or NULL while it is not armed (or when a test wants the event lost). */
static __always_inline struct cpu *armed_cpu(void)
{
	struct cpu *c = cpu_state(bpf_get_smp_processor_id());

	if (!c || !c->totals.armed)
		return NULL;
	if (drop_every && ++c->dropped % drop_every == 0)
		return NULL;
	return c;
}

/* --- run-time histograms ------------------------------------------------------------------- */

static __always_inline __u32 log2_slot(__u64 ns)
{
	__u32 slot = 0;

	for (__u32 shift = 32; shift; shift >>= 1) {
		if (ns >> shift) {
			ns >>= shift;
			slot += shift;
		}
	}
	return slot < NR_SLOTS ? slot : NR_SLOTS - 1;
}

static __always_inline struct cpu_histograms *cpu_histograms(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&histograms, &cpu);
}

/* --- accounts ------------------------------------------------------------------------------- */

static __always_inline bool has_prefix(const char *text, const char *prefix, int length)
{
	for (int i = 0; i < length; i++)
		if (text[i] != prefix[i])
			return false;
	return true;
}

/* Kernel threads keep the names they were made with: kernel/softirq.c, net/core/dev.c
 * (napi_kthread_create, backlog_napi), kernel/irq/manage.c (setup_irq_thread). */
static __always_inline enum kind kind_of(const char *comm)
{
	if (has_prefix(comm, "ksoftirqd/", 10))
		return KIND_KSOFTIRQD;
	if (has_prefix(comm, "napi/", 5) || has_prefix(comm, "backlog_napi/", 13))
		return KIND_NAPI;
	if (has_prefix(comm, "irq/", 4))
		return KIND_IRQ;
	return KIND_TASK;
}

static __always_inline struct task_key key_of(struct task_struct *task)
{
	struct task_key key = {
		.pid = READ(task, pid),
		.start_ns = READ(task, start_boottime),
	};

	return key;
}

static __noinline struct task_account *new_account(struct task_struct *task, struct task_key *key)
{
	struct task_account *account;

	if (bpf_map_update_elem(&tasks, key, &no_account, BPF_NOEXIST) == 0)
		__sync_fetch_and_add(&tasks_created, 1);
	account = bpf_map_lookup_elem(&tasks, key);
	if (!account)
		return NULL;
	bpf_probe_read_kernel_str(account->comm, sizeof(account->comm), &task->comm);
	account->tgid = READ(task, tgid);
	account->cgroup = READ(task, cgroups, dfl_cgrp, kn, id);
	account->kind = READ(task, flags) & PF_KTHREAD ? kind_of(account->comm) : KIND_TASK;
	if (followed_pid && key->pid == followed_pid)
		account->flags = TASK_FOLLOWED;
	return account;
}

static __always_inline struct task_account *account_of(struct task_struct *task)
{
	struct task_key key = key_of(task);
	struct task_account *account = bpf_map_lookup_elem(&tasks, &key);

	return account ?: new_account(task, &key);
}

/* --- displaced: waiting while a network kernel thread has the CPU ---------------------------- */

static __always_inline __u64 clock_at(__u64 clock, __u64 now)
{
	return clock & RUNNING ? now - (clock & ~RUNNING) : clock;
}

static __always_inline void wait_begins(struct task_account *account, __u32 cpu, __u64 now)
{
	struct cpu *c = cpu_state(cpu);

	if (!c)
		return;
	account->wait_cpu = cpu + 1;
	account->wait_since = now;
	for (int i = 0; i < NR_KTHREADS; i++)
		account->wait_clock[i] = clock_at(c->clock[i], now);
}

static __always_inline void wait_ends(struct task_account *account, __u64 now)
{
	struct cpu *c;

	if (!account->wait_cpu)
		return;
	c = cpu_state(account->wait_cpu - 1);
	account->wait_cpu = 0;
	if (!c)
		return;
	account->wait_ns += now - account->wait_since;
	for (int i = 0; i < NR_KTHREADS; i++)
		account->displaced_ns[i] += clock_at(c->clock[i], now) - account->wait_clock[i];
}

/* --- slices ---------------------------------------------------------------------------------- */

/* The counters of the upper levels at one moment. */
struct moment {
	__u64 now;
	__u64 hard_ns;
	__s64 soft_ns;
};

/* Charge the softirqs completed since the slice began, by vector and by trigger. */
static __always_inline void charge_softirqs(struct cpu *c, struct task_account *account)
{
	struct cpu_totals *t = &c->totals;

	for (int i = 0; i < NR_VECTORS; i++)
		t->stolen_softirq_ns[i] += t->softirq_ns[i] - c->vector0[i];
	if (!account)
		return;
	for (int i = 0; i < NR_VECTORS; i++)
		account->softirq_ns[i] += t->softirq_ns[i] - c->vector0[i];
	for (int i = 0; i < NR_TRIGGERS; i++)
		account->trigger_ns[i] += t->trigger_ns[i] - c->trigger0[i];
}

/* Charge the slice that ends at m to its task, and open the next one there. */
static __always_inline void close_slice(struct cpu *c, struct task_account *account,
					const struct moment *m)
{
	struct cpu_totals *t = &c->totals;
	__s64 slice = m->now - c->t0;
	__s64 hard = m->hard_ns - c->h0;
	__s64 soft = m->soft_ns - c->s0;
	__s64 own = slice - hard - soft;
	__u64 interrupts = t->interrupts;
	bool victim = c->kind == KIND_TASK;

	if (c->kind == KIND_IDLE) {
		t->idle_ns += own;
		t->idle_interrupted_ns += hard + soft;
	} else if (victim) {
		t->own_ns += own;
		t->stolen_hardirq_ns += hard;
	} else if (c->kind < NR_KTHREADS) {
		own += soft; /* softirqs are what a network kernel thread is there for */
		t->kthread_ns[c->kind] += own;
		t->stolen_hardirq_ns += hard;
	}
	if (account) {
		account->oncpu_ns += slice;
		account->own_ns += own;
		account->hardirq_ns += hard;
		account->interrupts += interrupts - c->interrupts0;
	} else if (c->kind != KIND_IDLE) {
		t->unkept_ns += slice;
	}
	if (soft && victim)
		charge_softirqs(c, account);
	if (soft) {
		__builtin_memcpy(c->vector0, t->softirq_ns, sizeof(c->vector0));
		__builtin_memcpy(c->trigger0, t->trigger_ns, sizeof(c->trigger0));
	}
	c->t0 = m->now;
	c->h0 = m->hard_ns;
	c->s0 = m->soft_ns;
	c->interrupts0 = interrupts;
}

/* Put a task on the CPU; the slice's counters already stand at this moment. */
static __always_inline void open_slice(struct cpu *c, struct task_struct *task,
				       const struct task_key *key, __u32 kind, __u64 billed,
				       __u64 now)
{
	c->task = *key;
	c->task_address = (__u64)task;
	c->kind = kind;
	c->billed0 = billed;
	if (kind < NR_KTHREADS)
		c->clock[kind] = RUNNING | (now - c->clock[kind]);
}

/*
 * The task that leaves is not the one that came: a switch between them went untraced. (Some hosts
 * hide their supervisor's switches.) The scheduler's own record tells how long the one that came
 * ran; the rest of the slice belongs to the one that leaves. Counted as unmatched, and the time
 * as inferred.
 */
static __always_inline void infer_switch(struct cpu *c, const struct task_key *leaving,
					 struct task_account *account, __u64 billed, __u64 now)
{
	struct task_struct *came = (struct task_struct *)c->task_address;
	struct task_account *came_account = NULL;
	struct moment m = {.hard_ns = c->h0, .soft_ns = c->s0};
	__u64 ran = 0;

	c->totals.unmatched++;
	c->totals.inferred_ns += now - c->t0;
	if (c->task.pid) {
		came_account = bpf_map_lookup_elem(&tasks, &c->task);
		if ((__u32)BPF_CORE_READ(came, pid) == c->task.pid)
			ran = BPF_CORE_READ(came, se.sum_exec_runtime) - c->billed0;
	}
	if (ran > now - c->t0)
		ran = now - c->t0;
	if (came_account)
		came_account->billed_ns += ran;
	m.now = c->t0 + ran;
	close_slice(c, came_account, &m);
	c->task = *leaving;
	c->kind = account ? account->kind : leaving->pid ? KIND_TASK : KIND_IDLE;
	c->billed0 = billed;
}

static __always_inline void stop_clock(struct cpu *c, __u64 now)
{
	if (c->kind < NR_KTHREADS)
		c->clock[c->kind] = clock_at(c->clock[c->kind], now);
}

/* A switch to or from softirq or hard IRQ context cannot happen: an exit was lost. (On PREEMPT_RT
 * softirqs can be switched out; the user side refuses that kernel.) */
static __always_inline void heal(struct cpu *c)
{
	if (c->hard_depth) {
		c->hard_depth = 0;
		c->totals.unmatched++;
	}
	if (c->vector) {
		c->vector = 0;
		c->totals.unmatched++;
	}
}

TP(sched_switch)
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct cpu *c = armed_cpu();
	struct task_account *account = NULL;
	struct moment m = {};
	struct task_key key;
	__u32 state;

	if (!c)
		return 0;
	heal(c);
	c->pending = 0;
	m.now = bpf_ktime_get_ns();
	m.hard_ns = c->totals.hardirq_ns;
	m.soft_ns = c->soft_ns;
	c->totals.switches++;
	stop_clock(c, m.now);

	key = key_of(prev);
	if (key.pid)
		account = account_of(prev);
	if (key.pid != c->task.pid || (key.pid && key.start_ns != c->task.start_ns))
		infer_switch(c, &key, account, READ(prev, se.sum_exec_runtime), m.now);
	close_slice(c, account, &m);
	if (account) {
		account->billed_ns += READ(prev, se.sum_exec_runtime) - c->billed0;
		account->cgroup = READ(prev, cgroups, dfl_cgrp, kn, id);
		account->cpu = bpf_get_smp_processor_id();
		account->switches++;
		account->wait_cpu = 0;
		state = has_prev_state ? ((volatile __u64 *)ctx)[3] : READ(prev, __state);
		if (state & TASK_DEAD)
			account->flags |= TASK_EXITED;
		else if (preempt || !state)
			wait_begins(account, account->cpu, m.now);
	}

	key = key_of(next);
	if (!key.pid) {
		open_slice(c, next, &key, KIND_IDLE, 0, m.now);
		return 0;
	}
	account = account_of(next);
	if (account)
		wait_ends(account, m.now);
	open_slice(c, next, &key, account ? account->kind : KIND_TASK,
		   READ(next, se.sum_exec_runtime), m.now);
	return 0;
}

static __always_inline int woken(struct task_struct *task)
{
	struct task_account *account;

	if (!armed_cpu())
		return 0;
	account = account_of(task);
	if (account && !account->wait_cpu)
		wait_begins(account, READ(task, thread_info.cpu), bpf_ktime_get_ns());
	return 0;
}

TP(sched_wakeup)
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	return woken(task);
}

TP(sched_wakeup_new)
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	return woken(task);
}

/* A task that waits is moved to another CPU's queue: it waits there from now on. */
TP(sched_migrate_task)
int BPF_PROG(sched_migrate_task, struct task_struct *task, int dest_cpu)
{
	struct task_key key = key_of(task);
	struct task_account *account;
	__u64 now;

	if (!armed_cpu())
		return 0;
	account = bpf_map_lookup_elem(&tasks, &key);
	if (!account || !account->wait_cpu)
		return 0;
	now = bpf_ktime_get_ns();
	wait_ends(account, now);
	wait_begins(account, dest_cpu, now);
	return 0;
}

TP(task_rename)
int BPF_PROG(task_rename, struct task_struct *task, const char *comm)
{
	struct task_key key = key_of(task);
	struct task_account *account = bpf_map_lookup_elem(&tasks, &key);

	if (account)
		bpf_probe_read_kernel_str(account->comm, sizeof(account->comm), comm);
	return 0;
}

/* Loaded only when a command is followed. */
TP(sched_process_fork)
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct task_account *account;

	if (!armed_cpu())
		return 0;
	account = account_of(parent);
	if (!account || !(account->flags & TASK_FOLLOWED))
		return 0;
	account = account_of(child);
	if (account)
		account->flags |= TASK_FOLLOWED;
	return 0;
}

/* --- hard IRQs ------------------------------------------------------------------------------- */

/* Since v6.2: lends a pointer to read any address through. kernel/bpf/verifier.c numbers the
 * functions that it treats apart, so its enum tells whether it has this one. */
enum special_kfunc_type { KF_bpf_rdonly_cast };
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;

/* A word of this CPU's per-CPU variables: one load, or else a helper's call, which takes 50 ns. */
static __always_inline __u32 percpu(struct cpu *c, __u64 offset, __u32 size)
{
	void *address = (void *)(c->percpu_base + offset);
	__u32 word = 0;

	if (!bpf_core_enum_value_exists(enum special_kfunc_type, KF_bpf_rdonly_cast)) {
		bpf_probe_read_kernel(&word, size, address);
		return word;
	}
	/* It has to be some type of the kernel's; this one begins with a word of 64 bits. */
	address = bpf_rdonly_cast(address, bpf_core_type_id_kernel(struct thread_info));
	return size == sizeof(__u16) ? *(__u16 *)address : *(__u32 *)address;
}

/*
 * Which softirqs irq_exit is about to run (kernel/softirq.c, __irq_exit_rcu): those pending, unless
 * softirqs are off or being served where the interrupt came. If they are being served by an
 * irq_exit already, then that one runs the new ones too. Only x86 keeps both words in per-CPU
 * variables.
 */
static __always_inline __u32 runs_at_irq_exit(struct cpu *c)
{
	__u32 pending;

	if (!c->percpu_base)
		return 0;
	pending = c->pending | percpu(c, softirq_pending_offset, sizeof(__u16));
	if (pending && percpu(c, preempt_count_offset, sizeof(__u32)) & SOFTIRQ_MASK)
		return c->pending ? pending : 0;
	return pending;
}

static __always_inline int hard_enter(void)
{
	struct cpu *c = armed_cpu();

	if (c && c->hard_depth++ == 0)
		c->hard_t0 = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int hard_leave(bool ipi)
{
	struct cpu *c = armed_cpu();
	struct cpu_histograms *h;
	__u64 ns;

	if (!c)
		return 0;
	if (!c->hard_depth) {
		c->totals.unmatched += !c->hard_grace;
		c->hard_grace = false;
		return 0;
	}
	c->totals.interrupts++;
	c->totals.ipis += ipi;
	if (--c->hard_depth)
		return 0;
	ns = bpf_ktime_get_ns() - c->hard_t0;
	c->totals.hardirq_ns += ns;
	/* Any softirq that this does not foretell is run by local_bh_enable. */
	if (!c->vector)
		c->pending = runs_at_irq_exit(c);
	if (want_histograms && (h = cpu_histograms()))
		h->hardirq[log2_slot(ns)]++;
	return 0;
}

TP(irq_handler_entry)
int BPF_PROG(irq_handler_entry)
{
	return hard_enter();
}

TP(irq_handler_exit)
int BPF_PROG(irq_handler_exit)
{
	return hard_leave(false);
}

/* Interrupts that never reach irq_handler_*: x86's vectors (arch/x86/include/asm/trace/
 * irq_vectors.h), and IPIs elsewhere (include/trace/events/ipi.h). */
#define VECTOR(name, ipi)                                                                          \
	TP(name##_entry) int BPF_PROG(name##_entry)                                                \
	{                                                                                          \
		return hard_enter();                                                               \
	}                                                                                          \
	TP(name##_exit) int BPF_PROG(name##_exit)                                                  \
	{                                                                                          \
		return hard_leave(ipi);                                                            \
	}

VECTOR(call_function_single, true)
VECTOR(call_function, true)
VECTOR(reschedule, true)
VECTOR(ipi, true)
VECTOR(local_timer, false)
VECTOR(irq_work, false)
VECTOR(x86_platform_ipi, false)
VECTOR(error_apic, false)
VECTOR(spurious_apic, false)
VECTOR(thermal_apic, false)
VECTOR(threshold_apic, false)
VECTOR(deferred_error_apic, false)

/* --- softirqs -------------------------------------------------------------------------------- */

/* Interrupts are on around softirqs: a hard IRQ between the two loads below would be counted on
 * both sides, so look again when the counter has moved. */
static __always_inline __u64 now_beside(struct cpu *c, __u64 *hard_ns)
{
	volatile __s64 *counter = &c->totals.hardirq_ns;
	__u64 now;

	*hard_ns = *counter;
	now = bpf_ktime_get_ns();
	if (*counter != (__s64)*hard_ns) {
		*hard_ns = *counter;
		now = bpf_ktime_get_ns();
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
	now = now_beside(c, &hard_ns);
	ns = (now - c->soft_t0) - (hard_ns - c->soft_h0);
	c->vector = 0;
	c->totals.softirq_ns[vector] += ns;
	c->totals.softirq_count[vector]++;
	if (c->trigger < NR_TRIGGERS)
		c->totals.trigger_ns[c->trigger] += ns;
	c->soft_ns += ns;
	if (c->trigger == TRIGGER_IRQ_EXIT)
		/* raised meanwhile: the same loop runs them */
		c->pending |= percpu(c, softirq_pending_offset, sizeof(__u16));
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
	/* The event comes after the poll; the poll began where the one before it ended. */
	if (want_histograms && c->vector == NET_RX + 1 && (h = cpu_histograms())) {
		now = now_beside(c, &hard_ns);
		h->poll[log2_slot((now - c->poll_t0) - (hard_ns - c->poll_h0))]++;
		c->poll_t0 = now;
		c->poll_h0 = hard_ns;
	}
	return 0;
}

/* --- readings -------------------------------------------------------------------------------- */

static __always_inline void arm(struct cpu *c, struct task_struct *task)
{
	struct task_key key = {
		.pid = task->pid,
		.start_ns = task->start_boottime,
	};
	struct task_account *account = NULL;
	__u64 now = bpf_ktime_get_ns();
	__u32 kind = KIND_IDLE;

	if (has_percpu_offsets && bpf_core_field_exists(task->se.cfs_rq))
		c->percpu_base = (__u64)task->se.cfs_rq->rq - runqueues_offset;
	c->t0 = now;
	c->totals.start_ns = now;
	c->hard_grace = true;
	c->soft_grace = true;
	if (key.pid) {
		account = bpf_map_lookup_elem(&tasks, &key) ?: new_account(task, &key);
		kind = account ? account->kind : KIND_TASK;
	}
	open_slice(c, task, &key, kind, task->se.sum_exec_runtime, now);
	c->totals.armed = 1;
}

/* The vector and trigger of the softirq in flight. Looked up afresh at each use: older verifiers
 * forget, across a map lookup, what was known of a number. */
static __always_inline bool in_flight(struct cpu *c, __u32 *vector, __u32 *trigger)
{
	*vector = *(volatile __u32 *)&c->vector - 1;
	*trigger = *(volatile __u32 *)&c->trigger;
	return *vector < NR_VECTORS && *trigger < NR_TRIGGERS;
}

static __always_inline void charge_in_flight(struct cpu *c, struct task_account *account,
					     __s64 soft_in_flight)
{
	__u32 vector, trigger;

	if (!in_flight(c, &vector, &trigger))
		return;
	c->vector0[vector] += soft_in_flight;
	c->trigger0[trigger] += soft_in_flight;
	if (c->kind != KIND_TASK)
		return;
	c->totals.stolen_softirq_ns[vector] += soft_in_flight;
	if (!account)
		return;
	account->softirq_ns[vector] += soft_in_flight;
	account->trigger_ns[trigger] += soft_in_flight;
}

/* Close the slice in flight, with what the upper levels have in flight, and copy the totals. */
static __always_inline void settle_cpu(struct cpu *c, struct task_struct *task)
{
	struct task_account *account = NULL;
	struct moment m = {};
	__s64 hard_in_flight, soft_in_flight = 0;
	__u32 vector, trigger;

	m.now = bpf_ktime_get_ns();
	hard_in_flight = c->hard_depth ? m.now - c->hard_t0 : 0;
	m.hard_ns = c->totals.hardirq_ns + hard_in_flight;
	if (in_flight(c, &vector, &trigger))
		soft_in_flight = (m.now - c->soft_t0) - (m.hard_ns - c->soft_h0);
	m.soft_ns = c->soft_ns + soft_in_flight;

	if (c->task.pid)
		account = bpf_map_lookup_elem(&tasks, &c->task);
	close_slice(c, account, &m);
	charge_in_flight(c, account, soft_in_flight);
	if (account && (__u32)task->pid == c->task.pid) {
		__u64 billed = task->se.sum_exec_runtime;

		account->billed_ns += billed - c->billed0;
		account->cpu = bpf_get_smp_processor_id();
		c->billed0 = billed;
	}
	c->totals.now_ns = m.now;
	__builtin_memcpy(&c->reading, &c->totals, sizeof(c->reading));
	c->reading.hardirq_ns += hard_in_flight;
	if (in_flight(c, &vector, &trigger)) {
		c->reading.softirq_ns[vector] += soft_in_flight;
		c->reading.trigger_ns[trigger] += soft_in_flight;
	}
}

/* Run by the user side on the CPU in question (BPF_PROG_RUN with BPF_F_TEST_RUN_ON_CPU): from an
 * IPI, or, on the caller's own CPU, from its system call. */
SEC("raw_tp/settle")
int settle(struct bpf_raw_tracepoint_args *ctx)
{
	struct cpu *c = cpu_state(bpf_get_smp_processor_id());
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 request = ctx->args[0];

	if (!c)
		return 0;
	if (request == REQUEST_ARM && !c->totals.armed)
		arm(c, task);
	if (c->totals.armed)
		settle_cpu(c, task);
	if (request == REQUEST_DISARM) {
		c->totals.armed = 0;
		stop_clock(c, c->totals.now_ns);
	}
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long the kernel takes to make a kernel thread, by a clock beside the calls and no tracer:
 * each read of /proc/nettax_threads makes some, one after another, and prints on a line the ns of
 * each kthread_create(), and those of an empty function. Of the latter every clock should tell 0:
 * what it tells is its own, and the tracer's around the call.
 */
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static unsigned int threads = 50;
module_param(threads, uint, 0444);

static noinline void threads_empty(void)
{
	barrier();
}

static u64 empty_ns(void)
{
	u64 before = ktime_get_ns();

	threads_empty();
	return ktime_get_ns() - before;
}

static int threads_body(void *unused)
{
	return 0; /* it is stopped before it runs */
}

static int threads_show(struct seq_file *file, void *unused)
{
	unsigned int i;

	for (i = 0; i < threads; i++) {
		u64 before = ktime_get_ns(), after;
		struct task_struct *task = kthread_create(threads_body, NULL, "nettax_thread");

		after = ktime_get_ns();
		if (IS_ERR(task))
			return PTR_ERR(task);
		kthread_stop(task);
		seq_printf(file, "%llu %llu\n", after - before, empty_ns());
	}
	return 0;
}

static int __init threads_init(void)
{
	return proc_create_single("nettax_threads", 0444, NULL, threads_show) ? 0 : -ENOMEM;
}

static void __exit threads_exit(void)
{
	remove_proc_entry("nettax_threads", NULL);
}

module_init(threads_init);
module_exit(threads_exit);
MODULE_DESCRIPTION("Kernel threads, timed without a tracer, to test tracers by");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module with known answers for tracers of functions. Each read of /proc/nettax_probed calls
 * probed_parent() once: its two children spin for as many turns as the parameters say; then one
 * function by a macro, an inline and a wrapper, one that is not traced, and a recursion.
 */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static unsigned int first = 1000, second = 3000, depth = 5;
module_param(first, uint, 0444);
module_param(second, uint, 0444);
module_param(depth, uint, 0444);

#define probed_by_macro(x) probed_target(x)

static noinline unsigned int probed_target(unsigned int x)
{
	barrier();
	return x + 1;
}

static __always_inline unsigned int probed_by_inline(unsigned int x)
{
	return probed_target(x);
}

static noinline unsigned int probed_by_wrapper(unsigned int x)
{
	return probed_target(x) + 1;
}

static noinline notrace unsigned int probed_quiet(unsigned int x)
{
	barrier();
	return x + 2;
}

static noinline unsigned int probed_recursive(unsigned int left)
{
	unsigned int below = left ? probed_recursive(left - 1) : 0;

	barrier(); /* else it would become a loop */
	return below + 1;
}

static noinline unsigned int probed_first(void)
{
	unsigned int i;

	for (i = 0; i < first; i++)
		barrier();
	return i;
}

static noinline unsigned int probed_second(void)
{
	unsigned int i;

	for (i = 0; i < second; i++)
		barrier();
	return i;
}

static noinline unsigned int probed_parent(void)
{
	unsigned int x = probed_first() + probed_second();

	x = probed_by_macro(x) + probed_by_inline(x) + probed_by_wrapper(x) + probed_quiet(x);
	return x + probed_recursive(depth);
}

static int probed_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%u\n", probed_parent());
	return 0;
}

static int __init probed_init(void)
{
	return proc_create_single("nettax_probed", 0444, NULL, probed_show) ? 0 : -ENOMEM;
}

static void __exit probed_exit(void)
{
	remove_proc_entry("nettax_probed", NULL);
}

module_init(probed_init);
module_exit(probed_exit);
MODULE_DESCRIPTION("Functions with known answers, to test tracers of functions by");
MODULE_LICENSE("GPL");

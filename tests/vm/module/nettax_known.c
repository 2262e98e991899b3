// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module with known answers: each read of /proc/nettax_known runs known_parent() once, which
 * calls two children that spin for as many turns as the parameters say.
 */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static unsigned int first = 1000, second = 3000;
module_param(first, uint, 0444);
module_param(second, uint, 0444);

static noinline unsigned int known_spin(unsigned int turns)
{
	unsigned int i;

	for (i = 0; i < turns; i++)
		barrier();
	return turns;
}

static noinline unsigned int known_first(void)
{
	return known_spin(first);
}

static noinline unsigned int known_second(void)
{
	return known_spin(second);
}

static noinline unsigned int known_parent(void)
{
	return known_first() + known_second();
}

static int known_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%u\n", known_parent());
	return 0;
}

static int __init known_init(void)
{
	if (!proc_create_single("nettax_known", 0444, NULL, known_show))
		return -ENOMEM;
	pr_info("nettax_known: %u turns and %u\n", first, second);
	return 0;
}

static void __exit known_exit(void)
{
	remove_proc_entry("nettax_known", NULL);
}

module_init(known_init);
module_exit(known_exit);
MODULE_DESCRIPTION("Functions with known answers, to test tracers by");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0-only
/* Counters, in debugfs: nettax_server/stats has a line "NAME VALUE" for each. */
#include <linux/debugfs.h>
#include <linux/in.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <net/inet_sock.h>

#include "server.h"

DEFINE_PER_CPU(struct server_stats, server_stats);

static struct dentry *directory;

static int stats_file_show(struct seq_file *file, void *unused)
{
	const struct socket *listener = file->private;
	struct server_stats sum = {};
	int cpu;

	for_each_possible_cpu(cpu)
	{
		const struct server_stats *one = per_cpu_ptr(&server_stats, cpu);

#define X(name) sum.name += READ_ONCE(one->name);
		SERVER_STATS(X)
#undef X
	}
	seq_printf(file, "port %u\n", inet_sk(listener->sk)->inet_num);
#define X(name) seq_printf(file, #name " %llu\n", sum.name);
	SERVER_STATS(X)
#undef X
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats_file);

void stats_show(struct socket *listener)
{
	directory = debugfs_create_dir("nettax_server", NULL);
	debugfs_create_file("stats", 0444, directory, listener, &stats_file_fops);
}

void stats_hide(void)
{
	debugfs_remove(directory);
}

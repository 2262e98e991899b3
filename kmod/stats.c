// SPDX-License-Identifier: GPL-2.0-only
/* Counters, in debugfs: nettax_server/stats has a line "NAME VALUE" for each. */
#include <linux/debugfs.h>
#include <linux/in.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <net/inet_sock.h>

#include "server.h"

DEFINE_PER_CPU(struct server_stats, server_stats);

static const char *const names[] = {
	[STAT_ACCEPTED] = "accepted",
	[STAT_ENDED] = "ended",
	[STAT_ACCEPT_ERRORS] = "accept_errors",
	[STAT_START_ERRORS] = "start_errors",
	[STAT_START_DELAY_NS] = "start_delay_ns",
	[STAT_MESSAGES] = "messages",
	[STAT_REFUSED] = "refused",
	[STAT_TIMEOUTS] = "timeouts",
	[STAT_RECEIVED_BYTES] = "received_bytes",
	[STAT_SENT_BYTES] = "sent_bytes",
};

static_assert(ARRAY_SIZE(names) == STAT_COUNT);

static struct dentry *directory;

static int stats_file_show(struct seq_file *file, void *unused)
{
	const struct socket *listener = file->private;
	size_t stat;

	seq_printf(file, "port %u\n", inet_sk(listener->sk)->inet_num);
	for (stat = 0; stat < STAT_COUNT; stat++) {
		u64 sum = 0;
		int cpu;

		for_each_possible_cpu(cpu)
			sum += READ_ONCE(per_cpu(server_stats, cpu).values[stat]);
		seq_printf(file, "%s %llu\n", names[stat], sum);
	}
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

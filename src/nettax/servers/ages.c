// SPDX-License-Identifier: Apache-2.0
/* Connections by when they were last active, for what must close those that are silent. */
#include <time.h>

#include "server.h"

int64_t server_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

void ages_remove(struct ages *ages, struct connection *connection)
{
	if (connection->older)
		connection->older->newer = connection->newer;
	else if (ages->oldest == connection)
		ages->oldest = connection->newer;
	if (connection->newer)
		connection->newer->older = connection->older;
	else if (ages->newest == connection)
		ages->newest = connection->older;
	connection->older = connection->newer = NULL;
}

/* It is active now: put it where the newest is, whether or not it was in the list. */
void ages_touch(struct ages *ages, struct connection *connection)
{
	ages_remove(ages, connection);
	connection->active_s = server_seconds();
	connection->older = ages->newest;
	if (ages->newest)
		ages->newest->newer = connection;
	else
		ages->oldest = connection;
	ages->newest = connection;
}

struct connection *ages_silent(const struct ages *ages)
{
	struct connection *oldest = ages->oldest;

	return oldest && server_seconds() - oldest->active_s > options.idle_s ? oldest : NULL;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* As little of the kernel as kmod/http.c takes, so that it is a program. */
#ifndef KERNEL_H
#define KERNEL_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef uint64_t u64;
typedef int64_t time64_t;

struct list_head {
	struct list_head *next, *prev;
};

struct work_struct {
	struct list_head entry;
};

struct sock {
	long sk_sndtimeo;
};

struct socket {
	struct sock *sk;
};

struct kvec {
	void *iov_base;
	size_t iov_len;
};

struct tm {
	int tm_sec, tm_min, tm_hour, tm_mday, tm_mon;
	long tm_year;
	int tm_wday, tm_yday;
};

#define DECLARE_PER_CPU(type, name)  extern type name
#define this_cpu_add(counter, value) ((counter) += (value))
#define WRITE_ONCE(place, value)     ((place) = (value))
#define min(a, b)		     ((a) < (b) ? (a) : (b))
#define max(a, b)		     ((a) > (b) ? (a) : (b))
#define min_t(type, a, b)	     min((type)(a), (type)(b))
#define jiffies			     0UL
#define msecs_to_jiffies(ms)	     ((unsigned long)(ms))
#define ktime_get_real_seconds()     0
#define SHUT_WR			     1

static inline void time64_to_tm(time64_t seconds, int offset, struct tm *now)
{
	(void)seconds, (void)offset;
	*now = (struct tm){.tm_mday = 1, .tm_year = 70, .tm_wday = 4};
}

static inline int scnprintf(char *to, size_t size, const char *format, ...)
{
	va_list words;
	int length;

	va_start(words, format);
	length = vsnprintf(to, size, format, words);
	va_end(words);
	return min(length, (int)size - 1);
}

static inline void tcp_sock_set_cork(struct sock *sk, bool on)
{
	(void)sk, (void)on;
}

void kernel_sock_shutdown(struct socket *sock, int how);

#endif

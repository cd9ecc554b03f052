/* The assertion, and the allocations, which end a program rather than return. They write to
 * standard error by themselves: the log is not part of libmsock. */
#include "common/base.h"

#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* Not where nobody reads it: a worker that waits there is not replaced. */
static void MS_PRINTF(1, 2) last_words(const char *fmt, ...)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    va_list ap;

    if (poll(&room, 1, 0) == 0)
        return;
    va_start(ap, fmt);
    vdprintf(STDERR_FILENO, fmt, ap);
    va_end(ap);
}

_Noreturn void
ms_assert_failed(const char *expr, const char *file, int line, const char *func)
{
    last_words("%s:%d: %s: assertion failed: %s\n", file, line, func, expr);
    abort();
}

#ifdef MSOCK_LIBRARY

static _Thread_local bool memory_failed;

void *
ms_out_of_memory(size_t n)
{
    (void)n;
    memory_failed = true;
    errno = ENOMEM;
    return NULL;
}

bool
ms_memory_failed(void)
{
    return memory_failed;
}

void
ms_memory_forget(void)
{
    memory_failed = false;
}

void
ms_memory_note(void)
{
    memory_failed = true;
}

#else

void *
ms_out_of_memory(size_t n)
{
    last_words("out of memory: %zu bytes\n", n);
    abort();
}

#endif

void *
ms_malloc(size_t n)
{
    void *p = malloc(n != 0 ? n : 1);

    if (p == NULL)
        return ms_out_of_memory(n);
    return p;
}

void *
ms_calloc(size_t count, size_t size)
{
    void *p = count != 0 && size != 0 ? calloc(count, size) : calloc(1, 1);

    if (p == NULL)
        return ms_out_of_memory(count * size);
    return p;
}

char *
ms_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = ms_malloc(n);

    return copy != NULL ? memcpy(copy, s, n) : NULL;
}

void
ms_random(void *out, size_t n)
{
    int fd = kernel_has(KERNEL_GETRANDOM) ? -1 : open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    char *p = out;

    while (n > 0) {
        ssize_t got = fd < 0 ? getrandom(p, n, 0) : read(fd, p, n);

        MS_ASSERT(got > 0 || errno == EINTR);
        if (got < 0)
            continue;
        p += got;
        n -= (size_t)got;
    }
    if (fd >= 0)
        close(fd);
}

/* --- the time --- */

/* The clocks, and the one way in which a time is written. */

static uint64_t
clock_us(clockid_t id)
{
    struct timespec ts;

    MS_ASSERT(clock_gettime(id, &ts) == 0);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t
clock_mono_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

uint64_t
clock_boot_us(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

uint64_t
clock_real_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t
clock_offset_us(void)
{
    return (int64_t)(clock_real_us() - clock_boot_us());
}

uint64_t
clock_id_us(const _Atomic int64_t *offset_us)
{
    uint64_t us;

    if (offset_us == NULL)
        return clock_real_us();
    us = clock_boot_us() + (uint64_t)atomic_load_explicit(offset_us, memory_order_relaxed);
    return us / 1000 < CLOCK_MS_MAX ? us : clock_real_us(); /* a worker may have spoilt it */
}

void
clock_id_raise(_Atomic int64_t *offset_us, uint64_t time_us)
{
    int64_t least, now;

    if (offset_us == NULL)
        return;
    least = (int64_t)(time_us - clock_boot_us());
    now = atomic_load(offset_us);
    while (now < least && !atomic_compare_exchange_weak(offset_us, &now, least))
        ;
}

static char *
clock_digits(char *out, unsigned value, unsigned width, char end)
{
    for (unsigned i = width; i-- > 0; value /= 10)
        out[i] = (char)('0' + value % 10);
    out[width] = end;
    return out + width + 1;
}

unsigned
clock_format(uint64_t real_us, char out[CLOCK_RFC3339_LEN])
{
    time_t seconds = (time_t)(real_us / 1000000);
    struct tm tm;
    char *p = out;

    MS_ASSERT(gmtime_r(&seconds, &tm) != NULL);
    p = clock_digits(p, (unsigned)(tm.tm_year + 1900), 4, '-');
    p = clock_digits(p, (unsigned)tm.tm_mon + 1, 2, '-');
    p = clock_digits(p, (unsigned)tm.tm_mday, 2, 'T');
    p = clock_digits(p, (unsigned)tm.tm_hour, 2, ':');
    p = clock_digits(p, (unsigned)tm.tm_min, 2, ':');
    p = clock_digits(p, (unsigned)tm.tm_sec, 2, '.');
    p = clock_digits(p, (unsigned)(real_us % 1000000), 6, 'Z');
    *p = '\0';
    return (unsigned)(p - out);
}

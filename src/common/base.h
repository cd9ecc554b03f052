/* What every other file uses, and therefore does not include by itself: whole numbers, bool,
 * string.h, a few attributes, the one assertion, memory, big-endian integers, the time. */
#ifndef COMMON_BASE_H
#define COMMON_BASE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MS_MUST_CHECK   __attribute__((warn_unused_result))
#define MS_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define MS_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A bug, not a condition of the environment: never compiled out. Prints the place and aborts. */
#define MS_ASSERT(x) ((x) ? (void)0 : ms_assert_failed(#x, __FILE__, __LINE__, __func__))

_Noreturn void ms_assert_failed(const char *expr, const char *file, int line, const char *func);

/* Allocation for sizes that are small and bounded by us, not by a peer. Free with free(3).
 *
 * A program cannot go on without: there it never returns NULL, but aborts. libmsock lives in
 * somebody else's program (MSOCK_LIBRARY): there it returns NULL, and the thread remembers it.
 * Protocols need no way back then. They may say anything, as long as they do not crash, and whoever
 * drives a connection asks ms_memory_failed before it believes them or lets a byte out. */
MS_MUST_CHECK void *ms_malloc(size_t n);
MS_MUST_CHECK void *ms_calloc(size_t count, size_t size);
MS_MUST_CHECK char *ms_strdup(const char *s);

/* Another library has no memory: as ms_malloc. Returns NULL, if it returns. */
void *ms_out_of_memory(size_t n);

/* Whether memory ran out in this thread since ms_memory_forget. ms_memory_note: it did, where a
 * program can go on without. */
#ifdef MSOCK_LIBRARY
bool ms_memory_failed(void);
void ms_memory_forget(void);
void ms_memory_note(void);
#else
static inline bool
ms_memory_failed(void)
{
    return false;
}

static inline void
ms_memory_forget(void)
{
}

static inline void
ms_memory_note(void)
{
}
#endif

/* n random bytes, from the kernel. */
void ms_random(void *out, size_t n);

/* Big-endian integers in byte strings, as every protocol here carries them. No alignment needed. */

static inline uint16_t
be16_load(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return be16toh(v);
}

static inline uint32_t
be32_load(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static inline uint64_t
be64_load(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

static inline void
be16_store(void *p, uint16_t v)
{
    v = htobe16(v);
    memcpy(p, &v, sizeof(v));
}

static inline void
be32_store(void *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof(v));
}

static inline void
be64_store(void *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof(v));
}

/* --- time (base.c) --- */

/* Time in microseconds. Protocol code never calls this: time is an argument there. */

/* Microseconds on the monotonic clock, which no one sets back. Equal in all processes of a
 * machine. */
uint64_t clock_mono_us(void);

/* The same, and it also counts the time in which the machine slept. */
uint64_t clock_boot_us(void);

/* Microseconds since 1970 (UTC). */
uint64_t clock_real_us(void);

/* What is now to be added to clock_boot_us to get clock_real_us. */
int64_t clock_offset_us(void);

/* The time of ids in microseconds since 1970: clock_boot_us and this offset, which all workers of a
 * master share and which only rises. NULL: the wall clock. */
uint64_t clock_id_us(const _Atomic int64_t *offset_us);

/* Raises the offset for all where that time is before time_us. NULL is fine. */
void clock_id_raise(_Atomic int64_t *offset_us, uint64_t time_us);

#define CLOCK_MS_MAX UINT64_C(253402300800000) /* the year 10000 */

#define CLOCK_RFC3339_LEN 28 /* "2026-11-21T10:11:12.123456Z" and NUL */

/* Writes real_us as RFC 3339 with microseconds, UTC. Returns the length without the NUL (27). */
unsigned clock_format(uint64_t real_us, char out[CLOCK_RFC3339_LEN]);

#endif

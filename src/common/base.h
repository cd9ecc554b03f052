/* The few attributes and the one assertion that every other file uses. */
#ifndef COMMON_BASE_H
#define COMMON_BASE_H

#include <stddef.h>
#include <stdint.h>

#define MS_MUST_CHECK   __attribute__((warn_unused_result))
#define MS_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define MS_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A bug, not a condition of the environment: never compiled out. Prints the place and aborts. */
#define MS_ASSERT(x) ((x) ? (void)0 : ms_assert_failed(#x, __FILE__, __LINE__, __func__))

_Noreturn void ms_assert_failed(const char *expr, const char *file, int line, const char *func);

/* Allocation that never returns NULL: what is asked for here is small and bounded by us, not by a
 * peer; when even that fails the process cannot go on and aborts. Free with free(3). */
MS_MUST_CHECK void *ms_malloc(size_t n);
MS_MUST_CHECK void *ms_calloc(size_t count, size_t size);
MS_MUST_CHECK char *ms_strdup(const char *s);

#endif

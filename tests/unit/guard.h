/* Shared by the unit tests: input that ends at a page nobody may touch, and a directory of the
 * test's own. */
#ifndef TESTS_UNIT_GUARD_H
#define TESTS_UNIT_GUARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ftw.h>
#include <sys/mman.h>
#include <unistd.h>

/* Memory whose last byte is followed by a PROT_NONE page. */
struct guard {
    char *map;
    size_t usable; /* bytes before the forbidden page */
};

static inline struct guard
guard_create(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct guard g = {.usable = (n / page + 1) * page};

    g.map = mmap(NULL, g.usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(g.map, MAP_FAILED);
    assert_int_equal(mprotect(g.map + g.usable, page, PROT_NONE), 0);
    return g;
}

static inline void
guard_destroy(struct guard *g)
{
    munmap(g->map, g->usable + (size_t)sysconf(_SC_PAGESIZE));
}

/* A copy of the n bytes that ends at the forbidden page; valid until the next call. */
static inline char *
guard_copy(struct guard *g, const void *data, size_t n)
{
    char *at = g->map + g->usable - n;

    assert_true(n <= g->usable);
    if (n > 0)
        memcpy(at, data, n);
    return at;
}

static inline char *
guard_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    char path[4096];

    snprintf(path, sizeof(path), "%s/msock-unit-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return strdup(path);
}

static inline int
guard_remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* Removes the directory with all in it and frees its name. */
static inline void
guard_tmpdir_remove(char *dir)
{
    assert_int_equal(nftw(dir, guard_remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(dir);
}

#endif

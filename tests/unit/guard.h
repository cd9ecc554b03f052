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
#include <unistd.h>

/* Memory whose last byte is followed by a PROT_NONE page. */
struct guard {
    char *map;
    size_t usable; /* bytes before the forbidden page */
};

/* Room for n bytes at most. */
struct guard guard_create(size_t n);

/* Unmaps it, with every copy in it. */
void guard_destroy(struct guard *g);

/* A copy of the n bytes that ends at the forbidden page; valid until the next call. */
char *guard_copy(struct guard *g, const void *data, size_t n);

/* Makes a directory below $TMPDIR, with its name in out. */
void guard_directory(char *out, size_t size);

/* The same; guard_tmpdir_remove frees its name. */
char *guard_tmpdir(void);

/* How many entries a directory has, . and .. among them. */
unsigned guard_entries(const char *path);

/* Removes the directory with all in it and frees its name. */
void guard_tmpdir_remove(char *dir);

#endif

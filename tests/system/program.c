#include "program.h"

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRAM_MAX ((size_t)64 << 20)

static char program[HARNESS_PATH_LEN];

void
program_put(const void *bytes, size_t n, mode_t mode)
{
    char fresh[HARNESS_PATH_LEN + 8];

    snprintf(fresh, sizeof(fresh), "%s.new", program);
    harness_write_file(fresh, bytes, n);
    assert_int_equal(chmod(fresh, mode), 0);
    assert_int_equal(rename(fresh, program), 0);
}

static char *
program_read(const char *name, size_t *n_out)
{
    FILE *file = fopen(harness_program(name), "re");
    char *bytes = malloc(PROGRAM_MAX);

    assert_non_null(file);
    assert_non_null(bytes);
    *n_out = fread(bytes, 1, PROGRAM_MAX, file);
    fclose(file);
    return bytes;
}

char *
program_read_good(size_t *n_out)
{
    return program_read("msockd", n_out);
}

static void
program_put_built(const char *name)
{
    size_t n;
    char *bytes = program_read(name, &n);

    program_put(bytes, n, 0755);
    free(bytes);
}

void
program_put_good(void)
{
    program_put_built("msockd");
}

void
program_put_next(void)
{
    program_put_built("next/build/msockd");
}

void
program_put_changed(const char *from, const char *to)
{
    size_t n;
    char *bytes = program_read_good(&n), *at = memmem(bytes, n, from, strlen(from));

    assert_non_null(at);
    for (; at != NULL; at = memmem(bytes, n, from, strlen(from)))
        memcpy(at, to, strlen(from)); /* the compiler may have copied it */
    program_put(bytes, n, 0755);
    free(bytes);
}

void
program_put_other_layout(void)
{
    program_put_changed("2pukcosm", "3pukcosm"); /* as it stands in memory */
}

void
program_put_bad(unsigned number)
{
    static const char *const scripts[] = {"#!/bin/sh\nexit 0\n", "#!/bin/sh\nkill -SEGV $$\n",
                                          "#!/bin/sh\nsleep 1000 & wait\n", "no program"};
    const unsigned count = sizeof(scripts) / sizeof(scripts[0]), kind = number % PROGRAM_BAD_KINDS;

    if (kind < count)
        program_put(scripts[kind], strlen(scripts[kind]), 0755);
    else if (kind == count)
        program_put_other_layout();
    else if (kind == count + 1)
        program_put_changed("libjansson.so.4", "libjansson.so.X"); /* a library is missing */
    else
        assert_int_equal(unlink(program), 0);
}

const char *
program_begin(void)
{
    char dir[HARNESS_PATH_LEN];

    harness_directory(dir);
    harness_join(program, dir, "msockd");
    program_put_good();
    return program;
}

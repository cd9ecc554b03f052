/* What every system test has: a directory of its own, the programs, and a teardown that also runs
 * after a failed assertion and leaves no process, thread, mount or file behind. */
#ifndef SYSTEM_HARNESS_H
#define SYSTEM_HARNESS_H

#include <setjmp.h> /* cmocka.h needs these four before it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>

#include "support/wait.h"

#define HARNESS_PATH_LEN 512

/* A row for cmocka_run_group_tests: the test and the teardown of whatever it left. */
#define SYSTEM_TEST(f) cmocka_unit_test_setup_teardown(f, NULL, harness_teardown)

int harness_teardown(void **state);

/* For cmocka_run_group_tests: adopts orphans, so that teardown can end them, and sets an alarm that
 * ends a test program which hangs. */
int harness_begin(void **state);
int harness_end(void **state);

/* "msockd", "msockctl", "msock": absolute path in $MSOCK_BUILD. "tests/faults.so" too. Static. */
const char *harness_program(const char *name);

/* Is it there? What needs a library that is not installed is not built. */
bool harness_is_built(const char *name);

/* A file of the source tree, e.g. "tests/vectors/msp.json". Static until the next call. */
const char *harness_source(const char *name);

/* Makes a new empty directory that teardown removes. Writes its absolute path. */
void harness_directory(char path_out[HARNESS_PATH_LEN]);

/* Mounts a tmpfs of that many KiB on a new directory; teardown unmounts it. Skips the test where
 * that is not allowed. */
void harness_small_disk(unsigned kib, char path_out[HARNESS_PATH_LEN]);

/* Skips the test unless it runs as root. */
void harness_need_root(void);

/* Skips the test where workers cannot have their sandbox: the kernel is too old. Under a sanitizer
 * daemons have none but from here on, where leaks are not looked for. */
void harness_need_sandbox(void);
extern bool harness_is_sandboxed;

/* Mounts an image of a file system on a directory of harness_directory; options are "" or begin
 * with a comma. False where that is not possible here. It goes away with the test. */
bool harness_mount_image(const char *image, const char *options, const char *path);

/* The same with a file system that needs no image. False with errno where that is not possible. */
bool harness_mount(const char *type, const char *options, const char *path);

/* Takes it away again. */
void harness_unmount(const char *path);

void harness_remove_tree(const char *path);

/* Joins both with '/'; ends the test where that is too long. */
void harness_join(char out[HARNESS_PATH_LEN], const char *dir, const char *name);

/* Writes a whole file, anew. */
void harness_write_file(const char *path, const void *data, size_t n);

/* Makes a key file in a directory of its own. */
void harness_key(char path_out[HARNESS_PATH_LEN]);

/* Reads a whole file, NUL-terminated; caller frees. NULL where it cannot be read. */
char *harness_read_file(const char *path, size_t *n_out);

#endif

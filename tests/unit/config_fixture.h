/* A configuration that is built from a file in a directory of its own, or refused. */
#ifndef TESTS_UNIT_CONFIG_FIXTURE_H
#define TESTS_UNIT_CONFIG_FIXTURE_H

#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define FILE_NAME "msockd.conf"

/* Where the file is, and paths begin. */
extern char directory[256];

/* Around each test. Nothing of the environment says where anything is. */
int config_set_up(void **state);
int config_tear_down(void **state); /* fails where a build has created anything */

#define TEST(name) cmocka_unit_test_setup_teardown(name, config_set_up, config_tear_down)

void file_path(char *path, size_t size);
void write_file_bytes(const char *text, size_t n);
void write_file(const char *text);

/* The test ends where it is refused; the caller destroys it. */
struct config *build(const struct config_args *args);
struct config *build_file(const char *text);

/* path is directory/name. */
void assert_in_directory(const char *path, const char *name);

/* In exactly these words. */
void assert_refused(const struct config_args *args, const char *wanted);

#endif

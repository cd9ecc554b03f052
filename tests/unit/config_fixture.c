#include "config_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char directory[256];

int
config_set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof(directory), "%s/test_config.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    unsetenv("RUNTIME_DIRECTORY");
    unsetenv("XDG_RUNTIME_DIR");
    return mkdtemp(directory) == NULL || chmod(directory, 0755) < 0 ? -1 : 0;
}

void
file_path(char *path, size_t size)
{
    snprintf(path, size, "%s/%s", directory, FILE_NAME);
}

int
config_tear_down(void **state)
{
    char path[300];

    (void)state;
    file_path(path, sizeof(path));
    unlink(path);
    return rmdir(directory); /* fails where a build has created anything */
}

void
write_file_bytes(const char *text, size_t n)
{
    char path[300];
    FILE *f;

    file_path(path, sizeof(path));
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

void
write_file(const char *text)
{
    write_file_bytes(text, strlen(text));
}

struct config *
build(const struct config_args *args)
{
    char error[CONFIG_ERROR_LEN] = "";
    struct config *config = NULL;

    if (config_build(args, directory, &config, error) < 0)
        fail_msg("refused: %s", error);
    return config;
}

void
assert_refused(const struct config_args *args, const char *wanted)
{
    char error[CONFIG_ERROR_LEN] = "";
    struct config *config = NULL;

    if (config_build(args, directory, &config, error) == 0) {
        config_destroy(config);
        fail_msg("taken, but expected: %s", wanted);
    }
    assert_string_equal(error, wanted);
    assert_null(config);
}

struct config *
build_file(const char *text)
{
    const struct config_args args = {.config_file = FILE_NAME};

    write_file(text);
    return build(&args);
}

void
assert_in_directory(const char *path, const char *name)
{
    char wanted[512];

    snprintf(wanted, sizeof(wanted), "%s/%s", directory, name);
    assert_string_equal(path, wanted);
}

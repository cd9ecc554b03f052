/* The values of all options while a configuration is being put together: each with the place that
 * set it last, so that whoever finds it wrong can say where it stands. */
#ifndef CONFIG_CONFIG_SETTINGS_H
#define CONFIG_CONFIG_SETTINGS_H

#include "config/config.h"
#include "config/config_options.h"

struct settings_listener {
    char *text;   /* the URL */
    char *origin; /* "-l", "msockd.conf:3: listen" */
};

struct settings {
    const char *cwd; /* what relative paths are below; the caller's */
    uint64_t number[OPTION_COUNT];
    char *text[OPTION_COUNT];
    char *origin[OPTION_COUNT]; /* "msockd.conf:12: timeout = \"2s\"", "-w 8"; NULL: the default */
    size_t listener_count;
    struct settings_listener listeners[CONFIG_LISTENERS_MAX];
};

/* Every option at its default, and no listener. settings_fini afterwards. */
void settings_init(struct settings *s, const char *cwd);
void settings_fini(struct settings *s);

/* Sets an option (adds to the listeners, for OPTION_LISTEN). The origin is copied. Returns 0, or -1
 * with "origin: reason" in error. */
MS_MUST_CHECK int settings_set(struct settings *s, const struct config_option *option,
                               const char *text, const char *origin, char error[CONFIG_ERROR_LEN]);

void settings_clear_listeners(struct settings *s);

/* The option of the file or of -o, or NULL with a sentence in error that begins with origin and
 * names the nearest one. */
const struct config_option *
settings_option(const char *name, const char *origin, char error[CONFIG_ERROR_LEN]);

/* Writes a sentence to error and returns -1. */
int config_fail(char error[CONFIG_ERROR_LEN], const char *fmt, ...) MS_PRINTF(2, 3);

/* The path itself where it is absolute, else below cwd, without slashes at its end; the caller
 * frees. */
char *config_path(const char *cwd, const char *path);

#define CONFIG_QUOTED_LEN 128

/* Text from outside, escaped and cut so that a sentence has room for it. Returns out. */
const char *config_quote(const char *text, char out[CONFIG_QUOTED_LEN]);

#endif

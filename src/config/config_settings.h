/* The values of all options while a configuration is being put together: each with the place that
 * set it last, so that an error can name the place. */
#ifndef CONFIG_CONFIG_SETTINGS_H
#define CONFIG_CONFIG_SETTINGS_H

#include "config/config.h"
#include "config/config_options.h"

#include <stdio.h>

struct settings_listener {
    char *text;   /* the URL */
    char *origin; /* "-l", "msockd.conf:3: listen" */
};

struct settings {
    const char *cwd; /* what relative paths are below, NULL: nothing; the caller's */
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
 * frees. Returns 0, or -1 with "origin: reason" in error: the path is relative and cwd is NULL. */
MS_MUST_CHECK int config_path(const char *cwd, const char *path, const char *origin,
                              char **path_out, char error[CONFIG_ERROR_LEN]);

#define CONFIG_QUOTED_LEN 128

/* A copy of text from outside in which no password of a NATS server can be read. To be freed. NULL
 * without memory. */
char *config_without_secrets(const char *text);

/* Text from outside, escaped, without such passwords, and cut so that a sentence has room for it.
 * Returns out. */
const char *config_quote(const char *text, char out[CONFIG_QUOTED_LEN]);

/* --- listener_tls.c --- */

/* Why its options about TLS do not go together; NULL: they do. Static. */
const char *listener_check_tls(const struct listener_config *listener);

/* --- config_file.c --- */

/* The configuration file, read by libconfuse: flat "name = value" lines and lists in braces. */

/* Reads the file at path into settings, and then those that it includes, in the order of their
 * names; shown is its name in sentences, and the others have their paths. Returns 0, or -1 with
 * "shown:LINE: ..." in error, and settings half set. Not to be called by two threads at once: the
 * scanner of libconfuse is one for the process. */
MS_MUST_CHECK int config_file_read(const char *path, const char *shown, struct settings *settings,
                                   char error[CONFIG_ERROR_LEN]);

/* --- config_identity.c --- */

/* The user and group of the workers. */

struct identity {
    char *user, *group; /* names, or numbers where there is no name; NULL: nothing to change */
    uid_t uid;
    gid_t gid;
};

/* Resolves the options user and group. Without root only one's own are allowed, and then there is
 * nothing to change. Returns 0 and an identity, whose strings the caller frees, or -1 with a
 * sentence in error. */
MS_MUST_CHECK int identity_resolve(const struct settings *settings, struct identity *identity_out,
                                   char error[CONFIG_ERROR_LEN]);

/* --- args.c --- */

/* The command line of msockd. */

enum args_action { ARGS_RUN, ARGS_TEST, ARGS_HELP, ARGS_VERSION };

struct args {
    enum args_action action;
    struct config_args config; /* strings are argv's */
};

/* Reads argv. Returns 0, or -1 with a sentence in error (an unknown option, a missing argument). */
MS_MUST_CHECK int
args_parse(int argc, char *const argv[], struct args *args_out, char error[CONFIG_ERROR_LEN]);

/* Prints the text of -h. */
void args_help(FILE *out);

/* --- listener_url.c --- */

/* From a listener's URL to its configuration:
 * msp://127.0.0.1:8000?handler=echo&timeout=5s, msp:///run/msock.sock?mode=0666. */

/* Reads and resolves the URL (may block on a host name); what it does not say comes from settings.
 * Returns 0 and a listener, which listener_config_fini frees, or -1 with a sentence that begins
 * with origin in error. */
MS_MUST_CHECK int
listener_config_read(const char *text, const char *origin, const struct settings *settings,
                     struct listener_config *listener_out, char error[CONFIG_ERROR_LEN]);
void listener_config_fini(struct listener_config *listener);

/* The same URL with another host or port (NULL: as it was), as --host and --port ask. Returns a
 * string that the caller frees, or NULL with a sentence in error. */
char *listener_url_move(const char *text, const char *origin, const char *host, const char *port,
                        char error[CONFIG_ERROR_LEN]);

/* Where a URL stands, for sentences. */
struct listener_place {
    const char *text;
    const char *origin;
    char *error;
};

/* Writes 'origin: "text": ...' to error and returns -1. */
int listener_fail(const struct listener_place *at, const char *fmt, ...) MS_PRINTF(2, 3);

/* Puts the value of one option into number, or the options that are texts, with those of settings
 * for what the URL does not say, into l. Return 0, or -1 after listener_fail. */
MS_MUST_CHECK int
listener_read_option(const struct listener_place *at, const struct url_option *given,
                     const struct config_option *o, uint64_t number[OPTION_COUNT]);
MS_MUST_CHECK int listener_read_texts(const struct listener_place *at, const struct url *url,
                                      const struct settings *settings, struct listener_config *l);

/* --- relay_url.c --- */

/* The same with the URL of the relay: nats://a:4222,b:4222?stream=S. It may have the options of
 * handler=nats that say something about the servers and the stream, and gets the texts and numbers
 * that such a listener would have. */
MS_MUST_CHECK int
relay_config_read(const char *text, const char *origin, const struct settings *settings,
                  struct listener_config *relay_out, char error[CONFIG_ERROR_LEN]);

#endif

/* Defaults, file, -o and the rest of the command line, in this order, become one checked struct
 * config. Nothing is kept from one build to the next: a reload is a new build. */
#include "config/config.h"

#include "common/fd.h"
#include "config/config_settings.h"

#include "common/text.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The processors that this process may run on, which in a container are fewer than there are. */
static unsigned
config_cores(void)
{
    cpu_set_t set;
    long n;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        n = CPU_COUNT(&set);
    else
        n = sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1)
        return 1;
    return n > CONFIG_WORKERS_MAX ? CONFIG_WORKERS_MAX : (unsigned)n;
}

/* One "option=value" of -o. */
static int
config_set_one(struct settings *s, const char *text, char *error)
{
    const char *equals = strchr(text, '=');
    char quoted[CONFIG_QUOTED_LEN], origin[CONFIG_QUOTED_LEN + 8], name[64];
    const struct config_option *option;

    snprintf(origin, sizeof(origin), "-o %s", config_quote(text, quoted));
    if (equals == NULL || equals == text)
        return config_fail(error, "%s: expected OPTION=VALUE, such as timeout=5s", origin);
    snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
    option = settings_option(name, origin, error);
    if (option == NULL)
        return -1;
    if (option == &config_options[OPTION_INCLUDE])
        return config_fail(error, "%s: only the file of -c includes others", origin);
    if (option->type == OPTION_TYPE_LIST)
        snprintf(origin, sizeof(origin), "-o %s", option->name);
    return settings_set(s, option, equals + 1, origin, error);
}

/* An option of the command line that has a letter or a name of its own. */
static int
config_set_flag(struct settings *s, enum option_id id, const char *flag, const char *value,
                char *error)
{
    char quoted[CONFIG_QUOTED_LEN], origin[CONFIG_QUOTED_LEN + 16];

    if (value == NULL)
        return 0;
    snprintf(origin, sizeof(origin), "%s %s", flag, config_quote(value, quoted));
    return settings_set(s, &config_options[id], value, origin, error);
}

/* Listeners of the command line replace those of the file. Those of -l come first, since --host and
 * --port are about them. */
static int
config_set_listeners(struct settings *s, const struct config_args *args, char *error)
{
    bool given = args->listen_count > 0;

    for (size_t i = 0; i < args->set_count; i++)
        given = given || strncmp(args->set[i], "listen=", 7) == 0;
    if (given)
        settings_clear_listeners(s);
    for (size_t i = 0; i < args->listen_count; i++)
        if (settings_set(s, &config_options[OPTION_LISTEN], args->listen[i], "-l", error) < 0)
            return -1;
    return 0;
}

static void
config_set_verbosity(struct settings *s, int verbosity)
{
    int64_t level = (int64_t)s->number[OPTION_LOG_LEVEL] + verbosity;

    if (level < LOG_LEVEL_ERROR)
        level = LOG_LEVEL_ERROR;
    if (level > LOG_LEVEL_DEBUG)
        level = LOG_LEVEL_DEBUG;
    s->number[OPTION_LOG_LEVEL] = (uint64_t)level;
}

static int
config_apply_args(struct settings *s, const struct config_args *args, char *error)
{
    if (config_set_listeners(s, args, error) < 0)
        return -1;
    for (size_t i = 0; i < args->set_count; i++)
        if (config_set_one(s, args->set[i], error) < 0)
            return -1;
    if (config_set_flag(s, OPTION_WORKERS, "-w", args->workers, error) < 0 ||
        config_set_flag(s, OPTION_HANDLER, "-H", args->handler, error) < 0 ||
        config_set_flag(s, OPTION_DATA_DIR, "-d", args->data_dir, error) < 0 ||
        config_set_flag(s, OPTION_RUNTIME_DIR, "-r", args->runtime_dir, error) < 0 ||
        config_set_flag(s, OPTION_MAX_MESSAGE_SIZE, "--max-size", args->max_size, error) < 0)
        return -1;
    if (args->daemonize && config_set_flag(s, OPTION_DAEMON, "-D", "yes", error) < 0)
        return -1;
    config_set_verbosity(s, args->verbosity);
    return 0;
}

/* Gives the first listener the host and port of --host and --port. */
static int
config_move_first(struct settings *s, const struct config_args *args, char *error)
{
    struct settings_listener *first = &s->listeners[0];
    char *moved;

    if (args->host == NULL && args->port == NULL)
        return 0;
    moved = listener_url_move(first->text, first->origin, args->host, args->port, error);
    if (moved == NULL)
        return -1;
    free(first->text);
    first->text = moved;
    free(first->origin);
    first->origin = ms_strdup(args->host != NULL ? "--host" : "--port");
    return 0;
}

static int
config_gather(struct settings *s, const struct config_args *args, char *error)
{
    const struct config_option *listen = &config_options[OPTION_LISTEN];
    char *path;
    int rc = 0;

    if (args->config_file != NULL && args->config_file[0] == '\0')
        return config_fail(error, "-c: expected the name of a file");
    if (args->config_file != NULL) {
        if (config_path(s->cwd, args->config_file, "-c", &path, error) < 0)
            return -1;
        rc = config_file_read(path, args->config_file, s, error);
        free(path);
    }
    if (rc < 0 || config_apply_args(s, args, error) < 0)
        return -1;
    if (s->listener_count == 0 && settings_set(s, listen, listen->initial, "listen", error) < 0)
        return -1;
    return config_move_first(s, args, error);
}

/* Refuses values that are right alone and wrong together. */
static int
config_check(const struct settings *s, char *error)
{
    uint64_t least = s->number[OPTION_PACKET_SIZE], most = s->number[OPTION_PACKET_SIZE_MAX];

    if (least <= most)
        return 0;
    if (s->origin[OPTION_PACKET_SIZE] != NULL)
        return config_fail(error, "%s: more than packet_size_max, which is %" PRIu64,
                           s->origin[OPTION_PACKET_SIZE], most);
    return config_fail(error, "%s: less than packet_size, which is %" PRIu64,
                       s->origin[OPTION_PACKET_SIZE_MAX], least);
}

/* Says which address two listeners would both have. Port 0 is another port each time. */
static int
config_check_pair(const struct listener_config *before, const struct listener_config *l,
                  const char *origin, char *error)
{
    char address[ENDPOINT_TEXT_LEN];

    if (before->given != NULL && l->given != NULL && strcmp(before->given, l->given) == 0)
        return config_fail(error, "%s: %.100s and %.100s are both for systemd:%.100s", origin,
                           before->name, l->name, l->given);
    for (size_t i = 0; i < before->endpoint_count; i++) {
        for (size_t j = 0; j < l->endpoint_count; j++) {
            const struct endpoint *a = &before->endpoints[i], *b = &l->endpoints[j];
            bool any_port = a->addr.ss_family != AF_UNIX && endpoint_port(a) == 0;
            bool any_v6 =
                endpoint_is_any(&before->endpoints[0]) || endpoint_is_any(&l->endpoints[0]);

            if (any_port || !endpoint_overlaps(a, b))
                continue;
            endpoint_format(endpoint_covers(a, b) ? b : a, address);
            return config_fail(error, "%s: %.100s and %.100s both listen on %s%s", origin,
                               before->name, l->name, address,
                               any_v6 && before->endpoint_count + l->endpoint_count > 2
                                   ? " (with v6only=yes [::] takes no IPv4)"
                                   : "");
        }
    }
    return 0;
}

static int
config_add_listener(struct config *config, const struct settings *s, size_t i, char *error)
{
    const struct settings_listener *from = &s->listeners[i];
    struct listener_config *l = &config->listeners[i];
    size_t addresses = 0;

    if (listener_config_read(from->text, from->origin, s, l, error) < 0)
        return -1;
    config->listener_count++;
    if (config->dedup_window_us < l->number[OPTION_DEDUP_WINDOW])
        config->dedup_window_us = l->number[OPTION_DEDUP_WINDOW];
    for (size_t before = 0; before < i; before++) {
        addresses += config->listeners[before].endpoint_count;
        if (config_check_pair(&config->listeners[before], l, from->origin, error) < 0)
            return -1;
    }
    if (addresses + l->endpoint_count > CONFIG_ADDRESSES_MAX)
        return config_fail(error, "%s: more than %d addresses to listen on", from->origin,
                           CONFIG_ADDRESSES_MAX);
    return 0;
}

/* A quarter of all, and at least as many as a small site behind one address needs. */
static unsigned
config_source_connections(const uint64_t number[OPTION_COUNT])
{
    unsigned quarter = (unsigned)number[OPTION_MAX_CONNECTIONS] / 4;

    if (number[OPTION_SOURCE_CONNECTIONS] != 0)
        return (unsigned)number[OPTION_SOURCE_CONNECTIONS];
    return quarter > 16 ? quarter : 16;
}

static void
config_fill_numbers(struct config *config, const uint64_t number[OPTION_COUNT])
{
    config->workers = (unsigned)number[OPTION_WORKERS];
    if (config->workers == 0)
        config->workers = config_cores();
    config->daemonize = number[OPTION_DAEMON] != 0;
    config->log_level = (enum log_level)number[OPTION_LOG_LEVEL];
    config->log_format = (enum log_format)number[OPTION_LOG_FORMAT];
    config->sandbox = (enum sandbox)number[OPTION_SANDBOX];
    config->max_connections = (unsigned)number[OPTION_MAX_CONNECTIONS];
    config->source_connections = config_source_connections(number);
    config->source_rate = (uint32_t)number[OPTION_SOURCE_RATE];
    config->source_unfinished = number[OPTION_SOURCE_UNFINISHED];
    config->min_free = number[OPTION_MIN_FREE];
    config->drain_timeout_us = number[OPTION_DRAIN_TIMEOUT];
    config->ready_timeout_us = number[OPTION_READY_TIMEOUT];
    config->memory_message_max = (size_t)number[OPTION_MEMORY_MESSAGE_MAX];
    config->worker_memory_max = number[OPTION_WORKER_MEMORY_MAX];
    config->on_conflict = (enum on_conflict)number[OPTION_ON_CONFLICT];
    config->inline_max = (size_t)number[OPTION_INLINE_MAX];
    config->dedup_max = (uint32_t)number[OPTION_DEDUP_MAX];
    config->segment_size = number[OPTION_SEGMENT_SIZE];
    config->segment_age_us = number[OPTION_SEGMENT_AGE];
    config->sync = number[OPTION_SYNC] != 0;
}

/* The path that an option names. */
static int
config_fill_path(const struct settings *s, enum option_id id, const char *path, char **path_out,
                 char *error)
{
    const char *origin = s->origin[id] != NULL ? s->origin[id] : config_options[id].name;

    return config_path(s->cwd, path, origin, path_out, error);
}

static int
config_fill_paths(struct config *config, const struct config_args *args, const struct settings *s,
                  char *error)
{
    const char *log_file = s->text[OPTION_LOG_FILE], *runtime_dir = s->text[OPTION_RUNTIME_DIR];
    char *standard = NULL;
    int rc = 0;

    if (args->config_file != NULL)
        rc = config_path(s->cwd, args->config_file, "-c", &config->config_file, error);
    if (rc == 0 && log_file[0] != '\0' && config->log_format >= LOG_FORMAT_SYSLOG) {
        snprintf(error, CONFIG_ERROR_LEN,
                 "log_format=syslog and journal write no log_file: leave one of the two out");
        rc = -1;
    }
    if (rc == 0 && log_file[0] != '\0')
        rc = config_fill_path(s, OPTION_LOG_FILE, log_file, &config->log_file, error);
    if (runtime_dir[0] == '\0')
        runtime_dir = standard = runtime_dir_default();
    if (rc == 0)
        rc = config_fill_path(s, OPTION_RUNTIME_DIR, runtime_dir, &config->runtime_dir, error);
    if (rc == 0)
        rc = config_fill_path(s, OPTION_DATA_DIR, s->text[OPTION_DATA_DIR], &config->data_dir,
                              error);
    free(standard);
    return rc;
}

static int
config_fill_exempt(struct config *config, const struct settings *s, char *error)
{
    const char *text = s->text[OPTION_EXEMPT], *origin = s->origin[OPTION_EXEMPT];
    char reason[SOURCE_REASON_LEN];

    if (strcmp(text, "none") == 0 || source_rules_parse(text, &config->exempt, reason) == 0)
        return 0;
    return config_fail(error, "%s: %s (none exempts nobody)", origin, reason);
}

static int
config_fill_relay(struct config *config, const struct settings *s, char *error)
{
    const char *url = s->text[OPTION_RELAY], *origin = s->origin[OPTION_RELAY];

    config->retain_relayed = s->number[OPTION_RETAIN] != 0;
    config->retain_min_us = s->number[OPTION_RETAIN_MIN];
    if (url[0] != '\0')
        return relay_config_read(url, origin, s, &config->relay, error);
    if (config->retain_relayed)
        return config_fail(error, "%s: there is no relay", s->origin[OPTION_RETAIN]);
    return 0;
}

/* Certificates that no listener uses were meant for one, which would listen in the clear. */
static int
config_check_certificates(const struct config *config, const struct settings *s, char *error)
{
    enum option_id id =
        s->text[OPTION_TLS_CERT][0] != '\0' ? OPTION_TLS_CERT : OPTION_TLS_CLIENT_CA;

    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].number[OPTION_TLS] != 0)
            return 0;
    if (s->text[id][0] == '\0')
        return 0;
    return config_fail(error, "%s: no listener has tls=required", s->origin[id]);
}

static int
config_fill(struct config *config, const struct config_args *args, const struct settings *s,
            char *error)
{
    struct identity identity;

    if (config_check(s, error) < 0 || identity_resolve(s, &identity, error) < 0)
        return -1;
    config->user = identity.user;
    config->group = identity.group;
    config->uid = identity.uid;
    config->gid = identity.gid;
    config_fill_numbers(config, s->number);
    if (config_fill_exempt(config, s, error) < 0 || config_fill_paths(config, args, s, error) < 0 ||
        config_fill_relay(config, s, error) < 0)
        return -1;
    for (size_t i = 0; i < s->listener_count; i++)
        if (config_add_listener(config, s, i, error) < 0)
            return -1;
    return config_check_certificates(config, s, error);
}

int
config_build(const struct config_args *args, const char *cwd, struct config **config_out,
             char error[CONFIG_ERROR_LEN])
{
    struct config *config = ms_calloc(1, sizeof(*config));
    struct settings settings;
    int rc;

    settings_init(&settings, cwd);
    rc = config_gather(&settings, args, error);
    if (rc == 0)
        rc = config_fill(config, args, &settings, error);
    settings_fini(&settings);
    if (rc == 0)
        *config_out = config;
    else
        config_destroy(config);
    return rc;
}

void
config_destroy(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config->listener_count; i++)
        listener_config_fini(&config->listeners[i]);
    listener_config_fini(&config->relay);
    free(config->data_dir);
    free(config->runtime_dir);
    free(config->config_file);
    free(config->user);
    free(config->group);
    free(config->log_file);
    if (config->as_read.len > 0)
        explicit_bzero(config->as_read.data, config->as_read.cap); /* keys */
    buffer_fini(&config->as_read);
    free(config);
}

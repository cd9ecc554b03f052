/* The table of options, and how a value of each type is read. */
#include "config/config_options.h"

#include "common/text.h"
#include "config/config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define KIB         UINT64_C(1024)
#define MIB         (KIB * 1024)
#define GIB         (MIB * 1024)
#define MS          UINT64_C(1000)
#define SECOND      (MS * 1000)
#define HOUR        (SECOND * 3600)
#define DAY         (HOUR * 24)
#define PATH_LENGTH 4000
#define NAME_LENGTH 255
#define BOTH        (OPTION_IN_FILE | OPTION_IN_URL)

#define X(name, ...) {#name, {__VA_ARGS__}},
const struct config_handler config_handlers[] = {CONFIG_HANDLERS(X)};
#undef X

#define X(name, ...) #name,
static const char *const option_handlers[] = {CONFIG_HANDLERS(X) NULL};
#undef X

/* In the order of enum log_level, of enum log_format and of enum on_conflict. */
static const char *const option_levels[] = {"error", "warn", "notice", "info", "debug", NULL};
static const char *const option_log_formats[] = {"text", "json", "syslog", "journal", NULL};
static const char *const option_sandboxes[] = {"best", "require", "off", NULL};
static const char *const option_unterminated[] = {"drop", "keep", NULL};
static const char *const option_replies[] = {"auto", "yes", "no", NULL};
static const char *const option_execs[] = {"pool", "once", NULL};
static const char *const option_retains[] = {"all", "relayed", NULL};
static const char *const option_tls[] = {"no", "required", NULL};
static const char *const option_tls_client[] = {"auto", "optional", "required", NULL};
static const char *const option_prefix[] = {"no", "identity", NULL};
static const char *const option_tls_min[] = {"1.3", "1.2", NULL};
static const char *const option_proxies[] = {"no", "required", NULL};
static const char *const option_conflicts[] = {"keep", "replace", "number", NULL};

static_assert(LOG_LEVEL_ERROR == 0 && LOG_LEVEL_DEBUG == 4, "option_levels has this order");
static_assert(LOG_FORMAT_TEXT == 0 && LOG_FORMAT_JOURNAL == 3, "option_log_formats has this order");
static_assert(ON_CONFLICT_KEEP == 0 && ON_CONFLICT_NUMBER == 2, "option_conflicts has this order");

#define TEXT(least, most) \
    .type = OPTION_TYPE_TEXT, .scope = OPTION_IN_FILE, .min = (least), .max = (most)
#define URL_TEXT(least, most) \
    .type = OPTION_TYPE_TEXT, .scope = OPTION_IN_URL, .min = (least), .max = (most)
#define URL_PATH URL_TEXT(1, PATH_LENGTH), .is_path = true
#define BOTH_PATH \
    .type = OPTION_TYPE_TEXT, .scope = BOTH, .min = 0, .max = PATH_LENGTH, .is_path = true
#define NUMBER(where, least, most, what) \
    .type = OPTION_TYPE_NUMBER, .scope = (where), .min = (least), .max = (most), .unit = (what)
#define SIZE(where, least, most) \
    .type = OPTION_TYPE_SIZE, .scope = (where), .min = (least), .max = (most), .unit = "bytes"
#define DURATION(where, least, most) \
    .type = OPTION_TYPE_DURATION, .scope = (where), .min = (least), .max = (most)
#define CHOICE(where, list) .type = OPTION_TYPE_CHOICE, .scope = (where), .choices = (list)
#define URL_BOOL            .type = OPTION_TYPE_BOOL, .scope = OPTION_IN_URL, .max = 1
#define BOOL                .type = OPTION_TYPE_BOOL, .scope = OPTION_IN_FILE, .max = 1

const struct config_option config_options[OPTION_COUNT] = {
    [OPTION_INCLUDE] = {"include", TEXT(0, PATH_LENGTH), .initial = "",
                        .help = "files to read after the one of -c, such as conf.d/*.conf"},
    [OPTION_WORKERS] = {"workers", NUMBER(OPTION_IN_FILE, 1, CONFIG_WORKERS_MAX, "workers"),
                        .initial = "auto", .word = "auto",
                        .help = "worker processes; auto: one for each core"},
    [OPTION_LISTEN] = {"listen", .type = OPTION_TYPE_LIST, .scope = OPTION_IN_FILE, .min = 1,
                       .max = PATH_LENGTH, .initial = "auto://127.0.0.1:8000",
                       .help = "a list of URLs, one for each listener"},
    [OPTION_HANDLER] = {"handler", CHOICE(BOTH, option_handlers), .initial = "journal",
                        .help = "for listeners without one"},
    [OPTION_DATA_DIR] = {"data_dir", TEXT(1, PATH_LENGTH), .initial = "./msockd-data",
                         .help = "directory of journal, files and blobs"},
    [OPTION_RUNTIME_DIR] = {"runtime_dir", TEXT(0, PATH_LENGTH), .initial = "",
                            .help = "directory of statistics, lock and pid file; empty: see -r"},
    [OPTION_USER] = {"user", TEXT(0, NAME_LENGTH), .initial = "",
                     .help = "the workers' user, if root starts msockd"},
    [OPTION_GROUP] = {"group", TEXT(0, NAME_LENGTH), .initial = "",
                      .help = "the workers' group; empty: the group of the user"},
    [OPTION_SANDBOX] = {"sandbox", CHOICE(OPTION_IN_FILE, option_sandboxes), .initial = "best",
                        .help = "of the workers: best, require (or fail to start), off"},
    [OPTION_LOG_FILE] = {"log_file", TEXT(0, PATH_LENGTH), .initial = "",
                         .help = "file for the log; empty: standard error, or syslog"},
    [OPTION_LOG_LEVEL] = {"log_level", CHOICE(OPTION_IN_FILE, option_levels), .initial = "notice",
                          .help = "error, warn, notice, info, debug"},
    [OPTION_LOG_FORMAT] = {"log_format", CHOICE(OPTION_IN_FILE, option_log_formats),
                           .initial = "text", .help = "text, json, syslog, journal (of systemd)"},
    [OPTION_DAEMON] = {"daemon", BOOL, .initial = "no", .help = "go to the background once ready"},
    [OPTION_MAX_CONNECTIONS] = {"max_connections",
                                NUMBER(OPTION_IN_FILE, 1, 1000000, "connections"),
                                .initial = "16384",
                                .help = "most over all workers; one more: ERR busy"},
    [OPTION_SOURCE_CONNECTIONS] = {"source_connections",
                                   NUMBER(OPTION_IN_FILE, 1, 1000000, "connections"),
                                   .initial = "auto", .word = "auto",
                                   .help = "most of one source; auto: a quarter, at least 16"},
    [OPTION_SOURCE_RATE] = {"source_rate",
                            NUMBER(OPTION_IN_FILE, 0, 1000000000, "messages per second"),
                            .initial = "0", .help = "most messages of one source; 0: no limit"},
    [OPTION_SOURCE_UNFINISHED] = {"source_unfinished", SIZE(OPTION_IN_FILE, 1, INT64_MAX),
                                  .initial = "auto", .word = "auto",
                                  .help = "bytes on disk of one source's unfinished messages"},
    [OPTION_EXEMPT] = {"exempt", TEXT(1, PATH_LENGTH), .initial = "127.0.0.0/8,::1,unix",
                       .help = "networks and users without limits of their own; none: nobody"},
    [OPTION_MIN_FREE] = {"min_free", SIZE(OPTION_IN_FILE, 1, INT64_MAX), .initial = "auto",
                         .word = "auto", .help = "bytes of the disk that no new body may take"},
    [OPTION_MAX_MESSAGE_SIZE] = {"max_message_size", SIZE(BOTH, 1, INT64_MAX),
                                 .initial = "4294967295",
                                 .help = "bytes; a larger SIZE counts as undetermined"},
    [OPTION_MEMORY_MESSAGE_MAX] = {"memory_message_max", SIZE(OPTION_IN_FILE, 0, GIB),
                                   .initial = "256K",
                                   .help = "most bytes of a message in memory; more: a file"},
    [OPTION_WORKER_MEMORY_MAX] = {"worker_memory_max", SIZE(OPTION_IN_FILE, MIB, 1024 * GIB),
                                  .initial = "64M",
                                  .help = "most bytes of messages in a worker's memory"},
    [OPTION_TIMEOUT] = {"timeout", DURATION(BOTH, 10 * MS, DAY), .initial = "2s",
                        .help = "longest silence inside a message; then ERR timeout"},
    [OPTION_IDLE_TIMEOUT] = {"idle_timeout", DURATION(BOTH, 10 * MS, 365 * DAY), .initial = "60s",
                             .help = "longest silence between messages; then close"},
    [OPTION_MIN_RATE] = {"min_rate", .type = OPTION_TYPE_SIZE, .scope = BOTH, .max = GIB,
                         .unit = "bytes per second", .initial = "1K",
                         .help = "lowest bytes per second of a message; 0: no limit"},
    [OPTION_RATE_GRACE] = {"rate_grace", DURATION(OPTION_IN_FILE, 0, DAY), .initial = "10s",
                           .help = "time in a message before min_rate applies"},
    [OPTION_PACKET_SIZE] = {"packet_size", SIZE(BOTH, 64, 16 * MIB), .initial = "2048",
                            .help = "bytes; the least that an ACK grants"},
    [OPTION_PACKET_SIZE_MAX] = {"packet_size_max", SIZE(BOTH, 64, 16 * MIB), .initial = "1M",
                                .help = "bytes; the most that an ACK grants"},
    [OPTION_NACK_LIMIT] = {"nack_limit", NUMBER(OPTION_IN_FILE, 0, 1000000, "NACKs"),
                           .initial = "10", .help = "more NACKs within a message: ERR retries"},
    [OPTION_REREAD_LIMIT] = {"reread_limit", NUMBER(BOTH, 1, 1000000, "packets"), .initial = "10",
                             .help = "undetermined size: most packets without an end"},
    [OPTION_MAX_JSON_DEPTH] = {"max_json_depth", NUMBER(BOTH, 1, JSON_DEPTH_MAX_LIMIT, "levels"),
                               .initial = "512", .help = "deeper JSON: REJ bad-json"},
    [OPTION_MAX_JSON_VALUES] = {"max_json_values", NUMBER(BOTH, 1, 100000000, "values"),
                                .initial = "500000", .help = "more values in JSON: REJ bad-json"},
    [OPTION_MAX_JSON_SIZE] = {"max_json_size", SIZE(BOTH, 1, GIB), .initial = "16M",
                              .help = "bytes; longer JSON: REJ bad-json"},
    [OPTION_DRAIN_TIMEOUT] = {"drain_timeout", DURATION(OPTION_IN_FILE, 0, DAY), .initial = "30s",
                              .help = "time for old workers to finish their messages"},
    [OPTION_READY_TIMEOUT] = {"ready_timeout", DURATION(OPTION_IN_FILE, 100 * MS, HOUR),
                              .initial = "10s", .help = "time for a new worker to get ready"},
    [OPTION_ON_CONFLICT] = {"on_conflict", CHOICE(OPTION_IN_FILE, option_conflicts),
                            .initial = "keep",
                            .help = "if a file exists already: keep, replace, number"},
    [OPTION_INLINE_MAX] = {"inline_max", SIZE(OPTION_IN_FILE, 0, 64 * MIB), .initial = "64K",
                           .help = "bytes; larger bodies become blobs"},
    [OPTION_SEGMENT_SIZE] = {"segment_size", SIZE(OPTION_IN_FILE, 4 * KIB, 1024 * GIB),
                             .initial = "64M", .help = "bytes; a larger journal segment is closed"},
    [OPTION_SEGMENT_AGE] = {"segment_age", DURATION(OPTION_IN_FILE, SECOND, 365 * DAY),
                            .initial = "1h", .help = "an older journal segment is closed"},
    [OPTION_SYNC] = {"sync", BOOL, .initial = "yes", .help = "fsync before the final ACK"},
    [OPTION_RELAY] = {"relay", TEXT(0, PATH_LENGTH), .initial = "",
                      .help = "nats://HOST:PORT,...?stream=...: where the journal goes too"},
    [OPTION_RETAIN] = {"retain", CHOICE(OPTION_IN_FILE, option_retains), .initial = "all",
                       .help = "relayed: what the relay has passed on is removed in time"},
    [OPTION_RETAIN_MIN] = {"retain_min", DURATION(OPTION_IN_FILE, SECOND, 3650 * DAY),
                           .initial = "1d", .help = "retain=relayed: but not before this time"},
    [OPTION_DEDUP_WINDOW] = {"dedup_window", DURATION(BOTH, 0, 365 * DAY), .initial = "10m",
                             .help = "time for which ids are remembered; 0: not at all"},
    [OPTION_DEDUP_MAX] = {"dedup_max", NUMBER(OPTION_IN_FILE, 1, CONFIG_DEDUP_MAX, "ids"),
                          .initial = "1000000", .help = "most ids that are remembered"},
    [OPTION_TLS] = {"tls", CHOICE(BOTH, option_tls), .initial = "no",
                    .help = "no, or required: TLS below the protocol"},
    [OPTION_TLS_CERT] = {"tls_cert", BOTH_PATH, .initial = "",
                         .help = "certificate and those up to its authority, PEM"},
    [OPTION_TLS_KEY] = {"tls_key", BOTH_PATH, .initial = "", .help = "key of the certificate, PEM"},
    [OPTION_TLS_CLIENT_CA] = {"tls_client_ca", BOTH_PATH, .initial = "",
                              .help = "authorities of clients' certificates, PEM"},
    [OPTION_TLS_CLIENT] = {"tls_client", CHOICE(BOTH, option_tls_client), .initial = "auto",
                           .help = "clients' certificates; auto: required with tls_client_ca"},
    [OPTION_TLS_MIN] = {"tls_min", CHOICE(BOTH, option_tls_min), .initial = "1.3",
                        .help = "lowest version of TLS: 1.3, 1.2"},
    [OPTION_PROXY] = {"proxy", CHOICE(BOTH, option_proxies), .initial = "no",
                      .help = "required: a PROXY header says whose a connection is"},
    [OPTION_PROXY_FROM] = {"proxy_from", .type = OPTION_TYPE_TEXT, .scope = BOTH,
                           .max = PATH_LENGTH, .initial = "",
                           .help = "networks of the proxies that may send it"},
    [OPTION_ALLOW] = {"allow", URL_TEXT(1, PATH_LENGTH), .initial = "", .word = "",
                      .help = "networks and users that may connect, no others"},
    [OPTION_DENY] = {"deny", URL_TEXT(1, PATH_LENGTH), .initial = "", .word = "",
                     .help = "networks and users that may not connect"},
    [OPTION_PREFIX] = {"prefix", CHOICE(OPTION_IN_URL, option_prefix), .initial = "no",
                       .help = "identity: files go to files/IDENTITY/; no"},
    [OPTION_BACKLOG] = {"backlog", NUMBER(OPTION_IN_URL, 1, 65535, "connections"),
                        .initial = "1024", .help = "most connections that wait to be accepted"},
    [OPTION_MODE] = {"mode", .type = OPTION_TYPE_MODE, .scope = OPTION_IN_URL, .max = 0777,
                     .initial = "0660", .help = "permissions of a Unix socket, octal"},
    [OPTION_V6ONLY] = {"v6only", .type = OPTION_TYPE_BOOL, .scope = OPTION_IN_URL, .max = 1,
                       .initial = "no", .help = "[::]: IPv6 alone, no IPv4"},
    [OPTION_FRAMING] = {"framing", URL_TEXT(1, 160), .initial = "length32",
                        .help = "frame: length32, fixed:N, delimiter[:X], eof"},
    [OPTION_DELIMITER] = {"delimiter", URL_TEXT(0, 160), .initial = "\\n",
                          .help = "frame: 1 to 32 bytes, escapes as in C, or %00"},
    [OPTION_UNTERMINATED] = {"unterminated", CHOICE(OPTION_IN_URL, option_unterminated),
                             .initial = "drop",
                             .help = "frame: bytes behind the last delimiter: drop, keep"},
    [OPTION_REPLY] = {"reply", CHOICE(OPTION_IN_URL, option_replies), .initial = "auto",
                      .help = "not msp: send replies: auto, yes, no"},
    [OPTION_SEND_QUEUE_MAX] = {"send_queue_max", SIZE(OPTION_IN_URL, 4 * KIB, GIB), .initial = "1M",
                               .help = "most bytes of pushes that a peer may leave unread"},
    [OPTION_KEEPALIVE] = {"keepalive", DURATION(OPTION_IN_URL, 10 * MS, DAY), .initial = "30s",
                          .help = "cnp: after this silence the peer must answer"},
    [OPTION_WINDOW_SIZE] = {"window_size", NUMBER(OPTION_IN_URL, 1, 1024, "packets"),
                            .initial = "64", .help = "cnp: most packets without an ACK"},
    [OPTION_RETRIES] = {"retries", NUMBER(OPTION_IN_URL, 0, 100, "times"), .initial = "5",
                        .help = "cnp: how often a packet is sent again"},
    [OPTION_KEY_FILE] = {"key_file", URL_PATH, .initial = "", .word = "",
                         .help = "payloads are sealed with the keys in this file"},
    [OPTION_COMMAND] = {"command", URL_TEXT(1, PATH_LENGTH), .initial = "", .word = "",
                        .help = "handler=exec: the command for /bin/sh"},
    [OPTION_EXEC] = {"exec", CHOICE(OPTION_IN_URL, option_execs), .initial = "pool",
                     .help = "pool: children that stay; once: one for each message"},
    [OPTION_EXEC_CHILDREN] = {"exec_children", NUMBER(OPTION_IN_URL, 1, 256, "children"),
                              .initial = "4", .help = "most children at a time in each worker"},
    [OPTION_EXEC_TIMEOUT] = {"exec_timeout", DURATION(OPTION_IN_URL, 10 * MS, DAY),
                             .initial = "30s", .help = "for one message; then its child is ended"},
    [OPTION_EXEC_ENV] = {"exec_env", URL_TEXT(1, PATH_LENGTH), .initial = "", .word = "",
                         .help = "A,B,...: variables that its children get too"},
    [OPTION_PATH] = {"path", URL_PATH, .initial = "", .word = "",
                     .help = "handler=module: the shared object"},
    [OPTION_ARGS] = {"args", URL_TEXT(0, PATH_LENGTH), .initial = "",
                     .help = "handler=module: a text for its start function"},
    [OPTION_SERVERS] = {"servers", URL_TEXT(1, PATH_LENGTH), .initial = "", .word = "",
                        .help = "handler=nats: nats://host:port,..., tried in any order"},
    [OPTION_STREAM] = {"stream", URL_TEXT(1, 127), .initial = "", .word = "",
                       .help = "handler=nats: the JetStream stream"},
    [OPTION_SUBJECT] = {"subject", URL_TEXT(1, 512), .initial = "in.{listener}.{kind}",
                        .help = "with {listener}, {kind}, {proto}, {id}, {identity}"},
    [OPTION_NATS_TIMEOUT] = {"nats_timeout", DURATION(OPTION_IN_URL, 10 * MS, HOUR),
                             .initial = "5s",
                             .help = "for an answer of the stream; 3 times: ERR busy"},
    [OPTION_NATS_AHEAD] = {"nats_ahead", NUMBER(OPTION_IN_URL, 1, 1024, "messages"), .initial = "1",
                           .help = "of a connection under way; more: order may change"},
    [OPTION_ID_SCOPE] = {"id_scope", URL_TEXT(1, NAME_LENGTH), .initial = "", .word = "",
                         .help = "msockds with the same one share ids; empty: the listener"},
    [OPTION_STREAM_CREATE] = {"stream_create", URL_BOOL, .initial = "no",
                              .help = "make the stream where there is none"},
    [OPTION_REPLICAS] = {"replicas", NUMBER(OPTION_IN_URL, 1, 5, "servers"), .initial = "1",
                         .help = "stream_create: so many servers have the stream"},
    [OPTION_MAX_AGE] = {"max_age", DURATION(OPTION_IN_URL, 0, 3650 * DAY), .initial = "0",
                        .help = "stream_create: older messages are removed; 0: none"},
    [OPTION_DUPLICATE_WINDOW] = {"duplicate_window", DURATION(OPTION_IN_URL, SECOND, 365 * DAY),
                                 .initial = "10m",
                                 .help = "stream_create: the stream remembers ids so long"},
    [OPTION_NATS_USER] = {"nats_user", URL_TEXT(1, NAME_LENGTH), .initial = "", .word = "",
                          .help = "user for the NATS servers"},
    [OPTION_NATS_PASSWORD_FILE] = {"nats_password_file", URL_PATH, .initial = "", .word = "",
                                   .help = "file with the password of nats_user"},
    [OPTION_NATS_CREDS] = {"nats_creds", URL_PATH, .initial = "", .word = "",
                           .help = "file with a user's JWT and seed"},
    [OPTION_NATS_NKEY] = {"nats_nkey", URL_PATH, .initial = "", .word = "",
                          .help = "file with a user's seed"},
    [OPTION_NATS_TLS] = {"nats_tls", URL_BOOL, .initial = "no",
                         .help = "TLS only, to every NATS server"},
    [OPTION_NATS_CA] = {"nats_ca", URL_PATH, .initial = "", .word = "",
                        .help = "file with the CAs of the NATS servers; else the system's"},
    [OPTION_NATS_CERT] = {"nats_cert", URL_PATH, .initial = "", .word = "",
                          .help = "file with our certificate for the NATS servers"},
    [OPTION_NATS_KEY] = {"nats_key", URL_PATH, .initial = "", .word = "",
                         .help = "file with the key of nats_cert"},
};

const struct config_option *
config_option_find(const char *name, enum option_scope scope)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if ((config_options[i].scope & scope) != 0 && strcmp(config_options[i].name, name) == 0)
            return &config_options[i];
    return NULL;
}

/* Treats hyphens as underscores and capitals as small letters: people mix them up. */
static char
option_fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

#define OPTION_NAME_MAX 32

/* Returns the number of letters to change, add, drop or swap with a neighbour to turn a into b. */
static size_t
option_distance(const char *a, const char *b)
{
    size_t rows[3][OPTION_NAME_MAX + 1]; /* before last, last, this */
    size_t *old = rows[0], *last = rows[1], *now = rows[2], n = strlen(b);

    for (size_t j = 0; j <= n; j++)
        last[j] = old[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t *spare = old;

        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            bool same = option_fold(a[i - 1]) == option_fold(b[j - 1]);
            size_t best = last[j - 1] + !same;

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                old[j - 2] + 1 < best)
                best = old[j - 2] + 1;
            now[j] = best;
        }
        old = last;
        last = now;
        now = spare;
    }
    return last[n];
}

const struct config_option *
config_option_nearest(const char *name, enum option_scope scope)
{
    const struct config_option *nearest = NULL;
    size_t n = strlen(name), best = n < 6 ? 1 : n / 3;

    if (n > OPTION_NAME_MAX)
        return NULL;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t distance = option_distance(name, config_options[i].name);

        if ((config_options[i].scope & scope) == 0 || distance > best)
            continue;
        if (nearest == NULL || distance < best)
            nearest = &config_options[i];
        best = distance;
    }
    return nearest;
}

/* "16M", "2K", "4294967295". */
static void
option_format_size(uint64_t bytes, char *out, size_t size)
{
    static const char units[] = {'\0', 'K', 'M', 'G'};
    size_t unit = 0;

    while (bytes != 0 && bytes % KIB == 0 && unit < sizeof(units) - 1) {
        bytes /= KIB;
        unit++;
    }
    snprintf(out, size, "%" PRIu64 "%.1s", bytes, &units[unit]);
}

/* "500ms", "2s", "1h". */
static void
option_format_duration(uint64_t us, char *out, size_t size)
{
    static const struct {
        uint64_t us;
        const char *name;
    } units[] = {{DAY, "d"}, {HOUR, "h"}, {SECOND * 60, "m"}, {SECOND, "s"}, {MS, "ms"}, {1, "us"}};
    size_t i = 0;

    while (us % units[i].us != 0)
        i++;
    snprintf(out, size, "%" PRIu64 "%s", us / units[i].us, us == 0 ? "s" : units[i].name);
}

static void
option_expect(const struct config_option *o, char reason[OPTION_REASON_LEN])
{
    char least[32], most[32], names[128];

    switch (o->type) {
    case OPTION_TYPE_TEXT:
    case OPTION_TYPE_LIST:
        snprintf(reason, OPTION_REASON_LEN, "expected %" PRIu64 " to %" PRIu64 " bytes of text",
                 o->min, o->max);
        return;
    case OPTION_TYPE_NUMBER:
        snprintf(reason, OPTION_REASON_LEN,
                 "expected a number of %s from %" PRIu64 " to %" PRIu64 "%s%s", o->unit, o->min,
                 o->max, o->word == NULL ? "" : ", or ", o->word == NULL ? "" : o->word);
        return;
    case OPTION_TYPE_SIZE:
        option_format_size(o->min, least, sizeof(least));
        option_format_size(o->max, most, sizeof(most));
        snprintf(reason, OPTION_REASON_LEN,
                 "expected a number of %s from %s to %s, such as \"4096\", \"64K\" or \"1M\"%s%s",
                 o->unit, least, most, o->word == NULL ? "" : ", or ",
                 o->word == NULL ? "" : o->word);
        return;
    case OPTION_TYPE_DURATION:
        snprintf(reason, OPTION_REASON_LEN,
                 "expected a duration such as \"2s\", \"500ms\" or \"5m\"");
        return;
    case OPTION_TYPE_BOOL:
        snprintf(reason, OPTION_REASON_LEN, "expected \"yes\" or \"no\"");
        return;
    case OPTION_TYPE_CHOICE:
        text_list(o->choices, names, sizeof(names));
        snprintf(reason, OPTION_REASON_LEN, "expected %s", names);
        return;
    case OPTION_TYPE_MODE:
        snprintf(reason, OPTION_REASON_LEN, "expected octal permissions such as \"0660\"");
        return;
    }
}

static int
option_parse_choice(const char *const *choices, const char *text, uint64_t *number_out)
{
    for (size_t i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], text) == 0) {
            *number_out = i;
            return 0;
        }
    }
    return -1;
}

static int
option_parse_bool(const char *text, uint64_t *number_out)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1", NULL};

    if (option_parse_choice(words, text, number_out) < 0)
        return -1;
    *number_out %= 2;
    return 0;
}

/* One to four octal digits, perhaps with 0o before them. */
static int
option_parse_mode(const char *text, uint64_t *number_out)
{
    uint64_t mode = 0;
    size_t n;

    if (strncmp(text, "0o", 2) == 0)
        text += 2;
    n = strlen(text);
    if (n == 0 || n > 4 || strspn(text, "01234567") != n)
        return -1;
    for (size_t i = 0; i < n; i++)
        mode = mode * 8 + (uint64_t)(text[i] - '0');
    *number_out = mode;
    return 0;
}

static int
option_parse_any(const struct config_option *o, const char *text, uint64_t *number_out)
{
    *number_out = 0;
    switch (o->type) {
    case OPTION_TYPE_TEXT:
    case OPTION_TYPE_LIST:
        return strlen(text) < o->min || strlen(text) > o->max ? -1 : 0;
    case OPTION_TYPE_NUMBER:
        return text_parse_number(text, o->min, o->max, number_out);
    case OPTION_TYPE_SIZE:
        return text_parse_size(text, number_out);
    case OPTION_TYPE_DURATION:
        return text_parse_duration(text, number_out);
    case OPTION_TYPE_BOOL:
        return option_parse_bool(text, number_out);
    case OPTION_TYPE_CHOICE:
        return option_parse_choice(o->choices, text, number_out);
    case OPTION_TYPE_MODE:
        return option_parse_mode(text, number_out);
    }
    return -1;
}

static bool
option_is_text(const struct config_option *o)
{
    return o->type == OPTION_TYPE_TEXT || o->type == OPTION_TYPE_LIST;
}

static bool
option_in_range(const struct config_option *o, uint64_t number)
{
    return option_is_text(o) || o->type == OPTION_TYPE_CHOICE ||
           (number >= o->min && number <= o->max);
}

int
config_option_parse(const struct config_option *option, const char *text, uint64_t *number_out,
                    char reason[OPTION_REASON_LEN])
{
    char least[32], most[32];
    uint64_t number;

    if (option->word != NULL && strcmp(option->word, text) == 0) {
        *number_out = 0;
        return 0;
    }
    errno = 0;
    if (option_parse_any(option, text, &number) == 0 && option_in_range(option, number)) {
        *number_out = number;
        return 0;
    }
    if (option->type == OPTION_TYPE_DURATION && errno != EINVAL) {
        option_format_duration(option->min, least, sizeof(least));
        option_format_duration(option->max, most, sizeof(most));
        snprintf(reason, OPTION_REASON_LEN, "expected a duration from %s to %s", least, most);
    } else {
        option_expect(option, reason);
    }
    return -1;
}

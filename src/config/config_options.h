/* One table of everything that can be set: the file, -o, listener URLs, the help and the tests of
 * the manual pages all read it, so a name, a default or a range stands in one place only. */
#ifndef CONFIG_CONFIG_OPTIONS_H
#define CONFIG_CONFIG_OPTIONS_H

#include "common/base.h"

enum option_id {
    OPTION_INCLUDE,
    OPTION_WORKERS,
    OPTION_LISTEN,
    OPTION_HANDLER,
    OPTION_DATA_DIR,
    OPTION_RUNTIME_DIR,
    OPTION_USER,
    OPTION_GROUP,
    OPTION_SANDBOX,
    OPTION_LOG_FILE,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_DAEMON,
    OPTION_MAX_CONNECTIONS,
    OPTION_SOURCE_CONNECTIONS,
    OPTION_SOURCE_RATE,
    OPTION_SOURCE_UNFINISHED,
    OPTION_EXEMPT,
    OPTION_MIN_FREE,
    OPTION_MAX_MESSAGE_SIZE,
    OPTION_MEMORY_MESSAGE_MAX,
    OPTION_WORKER_MEMORY_MAX,
    OPTION_TIMEOUT,
    OPTION_IDLE_TIMEOUT,
    OPTION_MIN_RATE,
    OPTION_RATE_GRACE,
    OPTION_PACKET_SIZE,
    OPTION_PACKET_SIZE_MAX,
    OPTION_NACK_LIMIT,
    OPTION_REREAD_LIMIT,
    OPTION_MAX_JSON_DEPTH,
    OPTION_MAX_JSON_SIZE,
    OPTION_MAX_JSON_VALUES,
    OPTION_DRAIN_TIMEOUT,
    OPTION_READY_TIMEOUT,
    OPTION_ON_CONFLICT,
    OPTION_INLINE_MAX,
    OPTION_SEGMENT_SIZE,
    OPTION_SEGMENT_AGE,
    OPTION_SYNC,
    OPTION_RELAY,
    OPTION_RETAIN,
    OPTION_RETAIN_MIN,
    OPTION_DEDUP_WINDOW,
    OPTION_DEDUP_MAX,
    OPTION_TLS,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_TLS_CLIENT_CA,
    OPTION_TLS_CLIENT,
    OPTION_TLS_MIN,
    OPTION_PROXY,
    OPTION_PROXY_FROM,
    OPTION_ALLOW, /* from here on in listener URLs only */
    OPTION_DENY,
    OPTION_PREFIX,
    OPTION_BACKLOG,
    OPTION_MODE,
    OPTION_V6ONLY,
    OPTION_FRAMING,
    OPTION_DELIMITER,
    OPTION_UNTERMINATED,
    OPTION_REPLY,
    OPTION_SEND_QUEUE_MAX,
    OPTION_KEEPALIVE,
    OPTION_WINDOW_SIZE,
    OPTION_RETRIES,
    OPTION_KEY_FILE,
    OPTION_COMMAND,
    OPTION_EXEC,
    OPTION_EXEC_CHILDREN,
    OPTION_EXEC_TIMEOUT,
    OPTION_EXEC_ENV,
    OPTION_PATH,
    OPTION_ARGS,
    OPTION_SERVERS,
    OPTION_STREAM,
    OPTION_SUBJECT,
    OPTION_NATS_TIMEOUT,
    OPTION_NATS_AHEAD,
    OPTION_ID_SCOPE,
    OPTION_STREAM_CREATE,
    OPTION_REPLICAS,
    OPTION_MAX_AGE,
    OPTION_DUPLICATE_WINDOW,
    OPTION_NATS_USER,
    OPTION_NATS_PASSWORD_FILE,
    OPTION_NATS_CREDS,
    OPTION_NATS_NKEY,
    OPTION_NATS_TLS,
    OPTION_NATS_CA,
    OPTION_NATS_CERT,
    OPTION_NATS_KEY,
    OPTION_COUNT
};

enum option_type {
    OPTION_TYPE_TEXT,     /* min to max bytes */
    OPTION_TYPE_LIST,     /* of texts, given one at a time */
    OPTION_TYPE_NUMBER,   /* whole, decimal */
    OPTION_TYPE_SIZE,     /* bytes: "64K" */
    OPTION_TYPE_DURATION, /* microseconds: "500ms" */
    OPTION_TYPE_BOOL,     /* "yes" 1, "no" 0 */
    OPTION_TYPE_CHOICE,   /* one of choices, its index */
    OPTION_TYPE_MODE,     /* permission bits, octal */
};

enum option_scope {
    OPTION_IN_FILE = 1, /* the file and -o */
    OPTION_IN_URL = 2,  /* ?option=value of a listener */
};

struct config_option {
    const char *name;
    enum option_type type;
    unsigned scope; /* enum option_scope, ored */
    const char *initial;
    uint64_t min, max;          /* of the value, in units of its type */
    const char *unit;           /* of a number or size, for people: "connections"; NULL otherwise */
    const char *word;           /* a word that stands for 0, or NULL */
    const char *const *choices; /* NULL at the end */
    bool is_path;               /* a text that names a file */
    const char *help;           /* half a line */
};

extern const struct config_option config_options[OPTION_COUNT];

/* One row for each handler: its name, and the options that only its listeners may have. The first
 * of these is required. Its struct handler_ops is NAME_handler (handler/handler.h). */
#define CONFIG_HANDLERS(X)                                                                 \
    X(journal, NULL)                                                                       \
    X(echo, NULL)                                                                          \
    X(discard, NULL)                                                                       \
    X(exec, "command", "exec", "exec_children", "exec_timeout", "exec_env")                \
    X(module, "path", "args")                                                              \
    X(broadcast, NULL)                                                                     \
    X(nats, "servers", "stream", "subject", "nats_timeout", "nats_ahead", "id_scope",      \
      "stream_create", "replicas", "max_age", "duplicate_window", "nats_user",             \
      "nats_password_file", "nats_creds", "nats_nkey", "nats_tls", "nats_ca", "nats_cert", \
      "nats_key")

struct config_handler {
    const char *name;
    const char *options[24]; /* NULL at the end */
};

extern const struct config_handler config_handlers[]; /* CONFIG_HANDLER_COUNT of them */
#define CONFIG_HANDLER_ONE(name, ...) +1
#define CONFIG_HANDLER_COUNT          (0 CONFIG_HANDLERS(CONFIG_HANDLER_ONE))

/* The option of that name and scope, or NULL. */
const struct config_option *config_option_find(const char *name, enum option_scope scope);

/* Returns the option of that scope with the nearest name, if it is near enough to be a misspelling,
 * else NULL. */
const struct config_option *config_option_nearest(const char *name, enum option_scope scope);

#define OPTION_REASON_LEN 256

/* Reads text as a value of the option. Returns 0 and the number (0 for text and lists), or -1 with
 * half a sentence in reason: "expected ...". */
MS_MUST_CHECK int config_option_parse(const struct config_option *option, const char *text,
                                      uint64_t *number_out, char reason[OPTION_REASON_LEN]);

#endif

/* Everything that can be set, checked: from defaults, the file (libconfuse), -o and the command
 * line, in this order, the later one wins. A struct config is never changed once it is built. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "common/digest.h"
#include "common/listen.h"
#include "common/log.h"
#include "common/seal.h"
#include "common/source.h"
#include "common/text.h"
#include "config/config_options.h"
#include "proto/proto.h"
#include "tls/tls.h"

#include <sys/types.h>

#define CONFIG_LISTENERS_MAX 64
#define CONFIG_ADDRESSES_MAX 128 /* of all listeners */
#define CONFIG_WORKERS_MAX   64
#define CONFIG_DEDUP_MAX     67108863 /* ids */
#define CONFIG_ERROR_LEN     512
#define DATA_ID_LEN          36 /* of a UUID as text, without NUL */
#define DATA_PARTS           3  /* of the data directory: journal/, files/, blobs/ */

enum on_conflict {
    ON_CONFLICT_KEEP,    /* the file that is there stays, the new one gets REJ exists */
    ON_CONFLICT_REPLACE, /* the new one takes its place, atomically */
    ON_CONFLICT_NUMBER,  /* the new one becomes name.1, name.2, ... */
};

/* In the order of the option's words. */
enum sandbox {
    SANDBOX_BEST, /* as much of it as the kernel has */
    SANDBOX_REQUIRE,
    SANDBOX_OFF,
};

struct listener_config {
    char *url;             /* as written */
    char *name;            /* the URL without its options, for logs, statistics and journal */
    char *proto;           /* "msp" */
    char *handler;         /* "journal" */
    char *given;           /* the name of the sockets that the service manager gives, or NULL */
    size_t endpoint_count; /* 1 at least; more for a name with several, and for [::]; 0: given */
    struct endpoint endpoints[LISTEN_ADDRESSES_MAX];
    struct proto_limits limits; /* the general ones with the URL's own on top */

    /* The values of its options, by enum option_id: the URL's own, else the general ones. */
    uint64_t number[OPTION_COUNT];
    char *text[OPTION_COUNT]; /* of those that only URLs have, paths absolute; NULL: not given */

    struct source_rules allow, deny; /* none in allow: all but those of deny */
    struct source_rules proxy_from;  /* where proxy=required */

    /* What was in its key_file when the configuration was read: all workers of a configuration have
     * the same keys, also those that are made later. */
    struct seal_keys keys;
    struct tls_pem tls; /* the same of its tls_cert, tls_key and tls_client_ca */
};

/* Reads its key_file, where it has one. Returns 0, or -1 with a sentence in error. */
MS_MUST_CHECK int listener_read_key(struct listener_config *listener, char error[SEAL_ERROR_LEN]);

/* The same with its files for TLS, where it has tls=required: they are read, and tried. */
MS_MUST_CHECK int listener_read_tls(struct listener_config *listener, char error[TLS_ERROR_LEN]);

/* Their context. secret: of its tickets; NULL: it gives none. NULL with a sentence in error. */
MS_MUST_CHECK struct tls_context *
listener_tls_context(const struct listener_config *listener, const struct tls_secret *secret,
                     char error[TLS_ERROR_LEN]);

/* Each of its connections begins with the header of a proxy. */
static inline bool
listener_is_proxied(const struct listener_config *listener)
{
    return listener->number[OPTION_PROXY] != 0;
}

/* A number for all that decides what the bytes of a listener's connections mean: protocol, framing,
 * replies, handler, and whether they are sealed. */
uint32_t listener_meaning(const struct listener_config *listener);

/* Which directory a part of the data directory is. */
struct data_part {
    dev_t device;
    ino_t inode;
    bool mounted; /* a file system is mounted there */
};

struct config {
    unsigned workers;
    bool workers_set; /* while it runs, and not by what was read */
    size_t listener_count;
    struct listener_config listeners[CONFIG_LISTENERS_MAX];
    char *data_dir; /* absolute */
    /* Which directory it is, by its marker, device and inode; filled in by data_dir_prepare. */
    char data_id[DATA_ID_LEN + 1];
    dev_t data_device;
    ino_t data_inode;
    struct data_part data_parts[DATA_PARTS];
    char *runtime_dir;  /* absolute */
    char *config_file;  /* absolute, or NULL */
    char *user, *group; /* workers of a root master become these; NULL: stay */
    uid_t uid;
    gid_t gid;
    enum sandbox sandbox;
    bool daemonize;
    char *log_file; /* absolute, or NULL: standard error */
    enum log_level log_level;
    enum log_format log_format;
    unsigned max_connections;    /* over all workers; beyond: ERR busy */
    unsigned source_connections; /* of one source */
    uint32_t source_rate;        /* messages a second of one source; 0: no limit */
    uint64_t
        source_unfinished; /* bytes of its unfinished bodies on disk; 0: half of what is free */
    uint64_t min_free;     /* bytes of the disk left for what can be finished; 0: 5 %, 1 GiB */
    struct source_rules exempt; /* sources without limits of their own */
    uint64_t drain_timeout_us;
    uint64_t ready_timeout_us;  /* a new worker must be ready within this */
    size_t memory_message_max;  /* bytes of a message kept in memory, more goes to a file */
    uint64_t worker_memory_max; /* bytes that one worker holds for peers: its ledger's */
    uint32_t dedup_max;         /* ids that are remembered */
    uint64_t dedup_window_us;   /* the longest of all listeners; 0: none remembers ids */
    /* journal */
    enum on_conflict on_conflict;
    size_t inline_max;       /* a larger body becomes a blob */
    uint64_t segment_size;   /* a journal segment is closed beyond this */
    uint64_t segment_age_us; /* and when it is older than this */
    bool sync;               /* fsync before the final ACK */
    bool retain_relayed;     /* what was relayed is removed */
    uint64_t retain_min_us;  /* but not before this time */
    /* The relay's URL as a listener that publishes to its servers; its name is NULL where there is
     * no relay. */
    struct listener_config relay;
    /* Its bytes, where another process has read it: all that it says, also to a version of the
     * program that has more options than this one. Empty: it was read here. */
    struct buffer as_read;
};

/* The options of the command line; config_build applies them last. */
struct config_args {
    const char *config_file;
    size_t listen_count;
    const char *listen[CONFIG_LISTENERS_MAX];
    size_t set_count;
    const char *set[128]; /* "option=value" */
    const char *workers, *handler, *data_dir, *runtime_dir, *host, *port, *max_size;
    bool daemonize;
    int verbosity; /* -v: +1 each, -q: -1 each */
};

/* Reads and checks everything. Relative paths are resolved against cwd, and refused where that is
 * NULL. Returns 0 and a config, which config_destroy frees, or -1 with one sentence in error: which
 * file and line or which option, what was wrong, what would be right. Touches nothing outside:
 * binds nothing, creates nothing. */
MS_MUST_CHECK int config_build(const struct config_args *args, const char *cwd,
                               struct config **config_out, char error[CONFIG_ERROR_LEN]);
void config_destroy(struct config *config); /* NULL is fine */

/* Appends a configuration as bytes, for another process, perhaps of another version. */
void config_pack(const struct config *config, struct buffer *out);

/* The configuration of which these are the bytes, or NULL where they are not whole. Where another
 * version has packed it: without what this one does not know, and with zeros for what is new
 * here. */
struct config *config_unpack(const void *bytes, size_t n);

#endif

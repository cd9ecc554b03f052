/* Publishes to one stream of NATS JetStream, exactly once: thousands of messages are under way, and
 * each one is done when the stream has confirmed it, or when it is clear that it will not. It needs
 * no handler and no worker, only a loop that waits for its descriptor. Nothing blocks but what says
 * so; libnats is in a plugin (link.h).
 *
 * - What has no answer within the time limit is published again with the same headers, so with the
 *   same Nats-Msg-Id: the stream drops the double, and its answer confirms the first one.
 * - After a lost connection everything under way is published again, in its order, but what is
 *   bound to an earlier round.
 * - An answer that says "duplicate" without a sequence number confirms nothing: the first copy may
 *   still be lost with its leader. It is asked again.
 * - What could not be confirmed within three times the limit has failed. It may be in the stream
 *   all the same: only somebody who sends it again under its id can know. */
#ifndef NATS_PUBLISHER_H
#define NATS_PUBLISHER_H

#include "common/ledger.h"
#include "nats/link.h"

#define NATS_ERROR_LEN  256
#define NATS_NAME_MAX   128
#define PUBLISHER_COUNT 4096u       /* publications under way */
#define PUBLISHER_BYTES (32u << 20) /* of them together; one more may always go beyond it */
#define PUBLISHER_TRIES 3           /* times the limit, then a publication has failed */

/* All texts are borrowed until publisher_close. NULL: not given. */
struct publisher_config {
    const struct nats_plugin *plugin; /* of tests; NULL: the one that is loaded */
    const char *label;                /* for the log: "nats on msp://127.0.0.1:8000" */
    const char *servers;              /* "nats://a:4222,b:4222" */
    const char *stream;
    const char *user, *password_file, *creds, *nkey;
    bool tls;
    const char *ca, *cert, *key;
    uint64_t timeout_us; /* for an answer */

    /* Counts what is under way, and near its bound has room for one publication at a time. NULL:
     * nobody counts. */
    struct ledger *ledger;

    /* How the stream is made where there is none; else that is an error. */
    bool create;
    bool only_looks;      /* nothing is made: a missing stream is none where it would be made */
    const char *subjects; /* one subject with wildcards: all that will be published */
    unsigned replicas;
    uint64_t max_age_us; /* 0: for ever */
    uint64_t duplicates_us;
};

/* The stream, as it is. */
struct stream_facts {
    unsigned replicas;
    bool in_memory;
    int64_t message_max;    /* bytes of a message with its headers; -1: no limit */
    uint64_t duplicates_us; /* how long it remembers ids */
};

/* "memory", "file", or "quorum" where several servers have it: what its answer stands for. */
const char *stream_stored(const struct stream_facts *facts);

enum publish_outcome {
    PUBLISH_STORED,    /* confirmed by the stream */
    PUBLISH_FULL,      /* the stream takes no more */
    PUBLISH_TOO_LARGE, /* the message is larger than the stream or the server takes */
    PUBLISH_REFUSED,   /* the stream does not take it, and will not */
    PUBLISH_REUSED,    /* another message is in the stream under this id */
    PUBLISH_MISSET,    /* another stream has the subject: it is our configuration */
    PUBLISH_BUSY,      /* it could not be confirmed in time; it may be there or not */
    PUBLISH_UNBOUND,   /* the round that it was bound to is over (publisher_round) */
    PUBLISH_UNREAD,    /* of a parcel (parcel.h): its body cannot be read, or is another one */
};

struct publisher;

struct publish_result {
    enum publish_outcome outcome;
    uint64_t seq;     /* of PUBLISH_STORED */
    bool duplicate;   /* it was there already, at that seq */
    const char *text; /* why not; valid during the call */
    int error;        /* of PUBLISH_UNREAD: errno */
};

/* A message for the stream. Made by publication_create, owned by the publisher from publisher_give
 * until its done is called. */
struct publication {
    struct link_message message; /* first: its memory is all of this */
    TAILQ_ENTRY(publication) link;
    void (*done)(struct publication *p, const struct publish_result *result);
    void *arg;   /* the giver's */
    size_t cost; /* bytes of all of it */

    /* The header that a duplicate's first copy must have with the same value, or this one is
     * PUBLISH_REUSED; static. NULL: it may have any. */
    const char *same;

    /* The round that it is bound to: in another one it does not go out, and is PUBLISH_UNBOUND. 0:
     * it goes out in any. */
    uint32_t bound_round;

    /* The publisher's. */
    void (*answered)(struct publisher *p, struct publication *asked, const struct link_event *e);
    struct publication *look; /* at its first copy, on its way; or NULL */
    uint64_t seq;             /* of that */
    uint32_t epoch;           /* of the connection that it was given to last; 0: of none */
    uint32_t setbacks;        /* answers that did not decide */
    bool is_set_back;         /* the last one did not */
    uint64_t first_us;        /* when it was given first */
    uint64_t again_us;        /* when it is given again, if nothing decides before */
};

/* Copies all: headers are lines as those of a link_message. data may be NULL: then there is room
 * for len bytes, at publication_data. Never NULL. */
struct publication *publication_create(const char *subject, const char *headers, size_t headers_len,
                                       const void *data, size_t len);
char *publication_data(struct publication *p);

/* Of one that was not given. */
void publication_destroy(struct publication *p);

/* The bytes that it is to the server, which limits them: headers and data. */
size_t publication_size(size_t headers_len, size_t len);

/* Loads the plugin and begins to connect. NULL with a sentence in error: the plugin is missing, or
 * a file of the configuration cannot be read. */
MS_MUST_CHECK struct publisher *
publisher_open(const struct publisher_config *config, char error[NATS_ERROR_LEN]);

/* Calls done for nothing any more. Waits a moment for the connection to end. NULL is fine. */
void publisher_close(struct publisher *p);

enum publisher_state {
    PUBLISHER_READY,   /* connected, and the stream is there */
    PUBLISHER_AWAY,    /* no server can be reached, or none answers: it may pass */
    PUBLISHER_REFUSED, /* a server answers, but this will not do as it is configured */
};

/* Blocks until it is ready, refused, or no server of the list could be reached, or until the time
 * is over. A sentence says why it is not ready. For a start, and for a check of a configuration. */
enum publisher_state
publisher_wait(struct publisher *p, uint64_t until_us, char error[NATS_ERROR_LEN]);

/* Readable when publisher_turn should be called. */
int publisher_fd(const struct publisher *p);
void publisher_turn(struct publisher *p);

/* Publications go out, and there is room for another one. */
bool publisher_has_room(const struct publisher *p);

/* It is ready, and max_payload and the stream are known. */
bool publisher_is_ready(const struct publisher *p);
const struct stream_facts *publisher_stream(const struct publisher *p);

/* Another one after a lost connection, and after the stream was missing or nobody took a message:
 * what was confirmed before may be gone. Never 0 once it is ready. */
uint32_t publisher_round(const struct publisher *p);

/* Asks about the stream again, which somebody may have changed, or taken away: what is known is up
 * to date a moment later. */
void publisher_ask_again(struct publisher *p);

/* Bytes that one publication may have (publication_size). */
size_t publisher_payload_max(const struct publisher *p);

/* Publishes it, behind those that were given before. May be called within done. */
void publisher_give(struct publisher *p, struct publication *publication);

/* Forgets one that was given: done is not called. */
void publisher_cancel(struct publisher *p, struct publication *publication);

/* What was given since is to leave: once a turn. Returns 0, or the time (monotonic microseconds) at
 * which it wants to be called again if no turn comes before. */
uint64_t publisher_flush(struct publisher *p);

/* Why nothing is confirmed at present: "no NATS server can be reached: ..."; "" while all is
 * well. */
const char *publisher_trouble(const struct publisher *p);

/* --- load.c --- */

/* The plugin, which is loaded once and stays; NULL with a sentence that names the missing package.
 * It is looked for beside the running program, and then in the directory of the libraries. */
const struct nats_plugin *nats_plugin_load(char error[NATS_ERROR_LEN]);

/* --- subject.c --- */

#define SUBJECT_MAX 1024 /* bytes of a subject */

/* The values that a template may name. */
struct subject_values {
    const char *listener, *kind, *proto, *identity;
    const char *id; /* any bytes */
    size_t id_len;
};

/* Is it a template for subjects? Returns NULL, or what is wrong with it. */
const char *subject_check(const char *template);

/* The subject: "in.{listener}.{kind}" with {listener}, {kind}, {proto}, {id} and {identity}. A
 * value is a part of one token: '.', '*', '>', '%', '$', space and everything but printable ASCII
 * stands as %XX in it. An empty value, and no identity, is "-", and the value "-" is "%2D". Returns
 * 0, or -1 where it does not fit. */
MS_MUST_CHECK int
subject_format(const char *template, const struct subject_values *values, char out[SUBJECT_MAX]);

/* The same with "*" for each token with a value in it: what a stream has to take. */
void subject_wildcard(const char *template, char out[SUBJECT_MAX]);

/* Does pattern, a stream's subject, take everything that the other one does? */
bool subject_covers(const char *pattern, const char *subject);

struct buffer;

/* Appends a value for a header: all but printable ASCII, '%', and a space at either end stand as
 * %XX. */
void header_escape(struct buffer *out, const void *data, size_t n);

/* --- answer.c --- */

/* An answer of the stream to a publication. */
struct stream_answer {
    bool stored;
    uint64_t seq; /* 0: not known, so not stored for sure */
    bool duplicate;
    char stream[NATS_NAME_MAX];
    int code; /* of an error: the server's err_code, or 0 where it is no answer at all */
    char text[NATS_ERROR_LEN];
};

void answer_parse(const char *text, size_t n, struct stream_answer *answer_out);

enum answer_meaning {
    ANSWER_STORED,
    ANSWER_AGAIN, /* it may pass */
    ANSWER_FULL,
    ANSWER_TOO_LARGE,
    ANSWER_REFUSED,
    ANSWER_MISSET,
};

enum answer_meaning answer_means(const struct stream_answer *answer);

/* --- stream.c --- */

/* What is asked about the stream, and what the answer is. */

enum stream_state {
    STREAM_THERE,
    STREAM_MISSING,
    STREAM_UNFIT,    /* it is there, and does not take our subjects, or is sealed */
    STREAM_UNSURE,   /* the servers cannot say now */
    STREAM_OVERLAPS, /* it cannot be made, since one that has a subject of its is there or being
                        made */
    STREAM_DENIED,   /* they will not make it so */
};

/* The answer to "$JS.API.STREAM.INFO.S" and to "$JS.API.STREAM.CREATE.S". text says what is wrong
 * with a stream that is not there. */
enum stream_state stream_read(const char *answer, size_t n, const struct publisher_config *config,
                              struct stream_facts *facts_out, char text[NATS_ERROR_LEN]);

/* The body of "$JS.API.STREAM.CREATE.S". To be freed. */
char *stream_request(const struct publisher_config *config);

/* --- nkey.c --- */

#define NKEY_PUBLIC_LEN 57 /* with NUL */

/* The public key of a user's seed in a file, alone or behind a JWT; libnats wants it beside the
 * seed. Returns 0, or -1 with a
 * sentence. */
MS_MUST_CHECK int
nkey_public(const char *path, char out[NKEY_PUBLIC_LEN], char error[NATS_ERROR_LEN]);

/* --- servers.c --- */

/* The list of servers, and who we are to them: what a link is opened with. The memory behind it. */
struct link_settings {
    struct link_config link;
    char *servers[LINK_SERVERS_MAX];
    char *user, *password;
    char nkey_public[NKEY_PUBLIC_LEN];
};

/* Returns 0, or -1 with a sentence; never with a password in it. */
MS_MUST_CHECK int
link_settings_read(const struct publisher_config *config, struct link_settings *settings_out,
                   char error[NATS_ERROR_LEN]);
void link_settings_fini(struct link_settings *settings);

#endif

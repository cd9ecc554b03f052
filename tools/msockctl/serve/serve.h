/* msockctl serve: a web server in one thread. It keeps nothing of the msockd between two looks, so
 * any number of them may run, and each may be ended at any time. Whatever it sends is JSON, metrics
 * or one of the files that are inside the program; what came from peers is only ever in JSON and in
 * labels, never in a page. */
#ifndef MSOCKCTL_SERVE_SERVE_H
#define MSOCKCTL_SERVE_SERVE_H

#include "msockctl/ctl.h"

#include <microhttpd.h>

struct passwords;

struct serve {
    struct ctl ctl;      /* its errors go to error */
    struct buffer error; /* of the last look */
    struct MHD_Daemon *daemon;
    const char *host;            /* as in --listen: a name that is ours */
    struct passwords *passwords; /* NULL: nobody is asked */
    struct listeners *listeners; /* of events */
    char trouble[256];           /* what libmicrohttpd said last */
};

/* --- what is sent (documents.c) --- */

/* A text on the heap, and whether it is what was asked for or an error: {"error": ...}. */
struct document {
    char *text;
    size_t len;
    bool failed;
};

/* The --json of a command: "stats", and all that have rows; also "journal". text is NULL where
 * there is no such. */
struct document document_api(struct serve *s, const char *name);

/* The text format of Prometheus, or OpenMetrics. */
struct document document_metrics(struct serve *s, bool openmetrics);

/* A word: failed unless a msockd runs; ready: and takes connections. */
struct document document_health(struct serve *s, bool ready);

/* The events of one second, in the form of text/event-stream. */
struct document document_events(struct serve *s);

/* --- the journal's last records (journal_tail.c) --- */

/* The newest records, without their bodies: an array, newest first. NULL with errno where the
 * journal cannot be read. */
json_t *journal_tail(const char *data_dir);

/* --- events (events.c) --- */

struct listeners *listeners_create(void);
void listeners_destroy(struct listeners *l); /* when the daemon was told to stop */

/* Of the connections that one address may have, for other questions room is left. */
#define LISTENERS_MAX 48

/* The answer for one who asks for events, from now on until he leaves. NULL: too many do. */
MS_MUST_CHECK struct MHD_Response *
listeners_add(struct serve *s, struct MHD_Connection *connection);

/* Once a second: makes new events where somebody listens, and wakes them. */
void listeners_tick(struct serve *s);

/* Wakes them for the last time, so that the daemon can stop. */
void listeners_wake(struct listeners *l);

/* --- who may ask (passwords.c) --- */

/* Reads lines of USER:HASH, hashes as crypt(5) has them. NULL after an error message. */
struct passwords *passwords_open(const struct ctl *ctl, const char *path);
void passwords_close(struct passwords *p); /* NULL is fine */

enum passwords_verdict { PASSWORDS_YES, PASSWORDS_NO, PASSWORDS_LATER };

/* LATER: too many wrong ones are being tried. */
enum passwords_verdict passwords_check(struct passwords *p, const char *user, const char *password);

/* --- requests (http.c) --- */

/* For MHD_start_daemon; cls is struct serve. */
enum MHD_Result
http_answer(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
            const char *version, const char *upload, size_t *upload_len, void **request);

/* --- files inside the program --- */

struct embedded {
    const char *path, *type;
    const char *begin, *end;
};

extern const struct embedded embedded_files[]; /* ends with a row without a path */

#endif

/* The load generator `msock bench`, against a daemon or anything else. */
#ifndef SYSTEM_BENCH_H
#define SYSTEM_BENCH_H

#include "daemon.h"
#include "run.h"

#include <jansson.h>

#define BENCH_URL 256 /* bytes of a URL */

/* How a listener is told, and how the load is. */
struct bench_kind {
    const char *listen;
    const char *options; /* of the client's URL */
    const char *words[3];
    bool acknowledged; /* messages count as committed */
};

/* One worker: which of several takes a connection does not matter here. */
struct daemon *bench_daemon(const char *handler, const struct bench_kind *kind);

#define BENCH_WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

void bench_start(struct running *r, const char *server, const struct bench_kind *kind,
                 const char *const *words);

/* Ends the test where it ends otherwise, or does not print one JSON object. The caller owns it. */
json_t *bench_finish(struct running *r, const struct bench_kind *kind, int status);

/* Both, against the first listener. */
json_t *bench_run(const struct daemon *d, const struct bench_kind *kind, const char *const *words,
                  int status);

/* Of the object, or of the group in it. Ends the test where there is none. */
uint64_t bench_number(const json_t *value, const char *group, const char *name);

#endif

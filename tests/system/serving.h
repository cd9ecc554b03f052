/* A `msockctl serve` beside a daemon. */
#ifndef SYSTEM_SERVING_H
#define SYSTEM_SERVING_H

#include "daemon.h"

struct serving {
    struct running run;
    char url[128]; /* "http://127.0.0.1:43117/" */
    unsigned port;
};

/* Skips the test where it was not built. */
void serving_need(void);

/* Starts it with these words behind "serve" (NULL at the end) and waits until it serves. */
void serving_start(struct serving *s, const char *runtime_dir, const char *const words[]);

/* TERM, and the end with 0. */
void serving_stop(struct serving *s);

#endif

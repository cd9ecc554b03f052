/* A bar on the terminal while something is being sent: share, bytes, rate, time left. */
#ifndef MSOCK_PROGRESS_H
#define MSOCK_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    char label[256];   /* what is sent; without control characters */
    uint64_t began_ns; /* monotonic */
    uint64_t drawn_ns; /* last time; 0: never */
    uint64_t drawn_done;
    double rate; /* bytes a second, smoothed; 0: not known yet */
};

void progress_init(struct progress *progress, const char *label);

/* A msock_progress_fn, arg is a struct progress. Draws at most ten times a second, and not at all
 * for what is done before anyone could read it. */
int progress_show(void *arg, uint64_t done, uint64_t total);

/* Takes the bar off the terminal, if there is one. */
void progress_clear(struct progress *progress);

/* The line itself, without line ends, at most width columns and n bytes with NUL. Pure. */
void progress_format(const char *label, uint64_t done, uint64_t total, double rate, unsigned width,
                     char *out, size_t n);

#endif

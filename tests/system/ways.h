/* The ways to send for which the promises under disturbance are tested: every protocol and framing,
 * alone on its listener and found out on one that tells protocols apart. One table for all of these
 * tests. */
#ifndef SYSTEM_WAYS_H
#define SYSTEM_WAYS_H

#include "daemon.h"
#include "raw.h"

#define WAYS_MAX DAEMON_LISTEN_MAX

struct way {
    const char *name;
    const struct raw_kind *kind; /* NULL: msp */
    const char *listen;          /* the URL of its listener */
    bool acknowledges; /* a message that was answered for is safe: by an ACK, or by the journal's
                          receipt (receipts) */
    bool receipts;
    bool stays;   /* the connection lives through a reload */
    size_t fixed; /* bytes of every body; 0: any number */
};

extern const struct way ways[];
extern const size_t way_count; /* at most WAYS_MAX */

/* Appends the listener of each way, so that the listeners of the daemon stand in the order of the
 * table. */
void ways_listen(struct daemon_options *options);

/* The same as text of a configuration file, behind the lines of head. */
#define WAYS_CONFIGURATION_LEN 8192
void ways_configuration(const char *head, char *out, size_t size);

#endif

/* What the files of the relay share. */
#ifndef RELAY_RELAY_STATE_H
#define RELAY_RELAY_STATE_H

#include "common/log.h"
#include "common/thread.h"
#include "handler/journal/follow.h"
#include "handler/journal/retain.h"
#include "handler/nats/target.h"
#include "nats/parcel.h"
#include "relay/relay.h"
#include "stats/stats_writer.h"

#define RELAY_SAVE_US 100000 /* between two savings of the position */

struct relay;

/* A record on its way. */
struct relay_job {
    struct parcel parcel; /* first */
    TAILQ_ENTRY(relay_job) all;
    struct relay *r;
    struct follow_item *item;
    struct record_parts parts; /* of the item's line */
    int fd;                    /* of a file or blob; or -1 */
    bool has_failed;           /* it is not under way */
    bool is_probe;             /* it was tried again alone */
};

struct relay {
    const struct child *child;
    const struct config *config;
    struct stats_writer stats;
    struct nats_target target;
    struct publisher *publisher;
    struct parcels parcels;
    struct digester *digester;
    const struct file_ops *ops;
    struct follow *follow; /* NULL: not yet */
    int root;              /* the data directory, to read files and blobs */
    int signal_fd;
    bool may_go;
    bool is_leaving;
    uint64_t leave_us; /* and until then */
    uint64_t open_us;  /* when the journal is tried to be followed again */
    uint64_t wait_us;  /* until then another one may do that */
    bool is_shut_out;  /* the journal cannot be followed, which was logged */
    unsigned idle_ms;  /* to rest before the journal is looked at again; 0: not at all */

    /* relay_job.c */
    TAILQ_HEAD(relay_jobs, relay_job) jobs; /* in the order of the journal */
    unsigned bodies;                        /* open files and blobs */
    unsigned stalls;                        /* how often in turn it did not go on; 0: it does */
    uint64_t again_us;                      /* when it is tried again; 0: it is */
    char stalled_by[NATS_ERROR_LEN];
    uint64_t gone_us;   /* when it was last said that a body is gone, */
    uint64_t unread_us; /* and that the journal cannot be read */

    /* relay_keep.c */
    struct stats_relay told;
    uint64_t saved_us, told_us;
    uint64_t told_relayed;
    bool is_unsaved; /* the last saving failed */
    struct helper *helper;
    struct helper_job retain_job;
    struct retain retain;
    struct follow_finished finished;
    struct retain_tally tally;
    int retain_error;
    uint64_t retain_us; /* of the next turn */
    bool is_retaining;
    _Atomic bool retain_stop;
};

/* --- relay_job.c --- */

/* Reads records while more of them may be under way, at most some in one call. Returns whether
 * there are more. */
bool relay_read(struct relay *r);

/* What did not go on is tried again, where it is time. */
void relay_try_again(struct relay *r);

/* Is anything under way that the stream may still confirm? */
bool relay_is_under_way(const struct relay *r);
void relay_drop_all(struct relay *r);

/* --- relay_keep.c --- */

/* The window of the stream that a restart at the worst moment needs, microseconds. */
uint64_t relay_needs_us(const struct config *config);

void relay_note_error(struct relay *r, const char *text);

/* Logs it and keeps it as the last error. */
void relay_complain(struct relay *r, const char *fmt, ...) MS_PRINTF(2, 3);

/* Saves the position, tells how far it is, and has removed what need not be kept, where it is
 * time. */
void relay_keep(struct relay *r, uint64_t now_us);
void relay_save(struct relay *r);

/* Waits for the end of a removal. */
void relay_keep_end(struct relay *r);

#endif

/* What the files of the exec handler share: exec.c the queue and the time, exec_slot.c a child and
 * its message, exec_settle.c how a message ends. */
#ifndef HANDLER_EXEC_EXEC_STATE_H
#define HANDLER_EXEC_EXEC_STATE_H

#include "handler/exec/exec_answer.h"
#include "handler/exec/exec_child.h"
#include "handler/exec/exec_feed.h"
#include "handler/exec/exec_tail.h"
#include "handler/handler.h"

#define EXEC_CHUNK (64u << 10)

/* A message that is not settled: in the queue, or with a child. */
struct exec_job {
    struct message *m;
    struct exec_job *next; /* in the queue */
    uint64_t queued_us;
    unsigned tries;     /* children that ended in order without an answer to it */
    char *proto, *peer; /* with exec=once; else NULL */
};

enum exec_slot_state {
    EXEC_SLOT_FREE,   /* no process */
    EXEC_SLOT_IDLE,   /* waits for a message */
    EXEC_SLOT_BUSY,   /* a message is under way */
    EXEC_SLOT_ENDING, /* has been told to end; what it did is settled */
};

/* Room for one child. */
struct exec_slot {
    enum exec_slot_state state;
    struct exec_child child;
    struct exec_job *job; /* of EXEC_SLOT_BUSY */
    struct exec_feed feed;
    struct exec_answer answer;
    struct exec_tail tail;
    bool is_answered;     /* with a pool: the answer is whole */
    bool said_more;       /* and something came behind it */
    uint64_t served;      /* messages it has decided */
    uint64_t deadline_us; /* of the message, or when an ending child is told again */
    int next_signal;      /* of EXEC_SLOT_ENDING: what it is told then */
};

struct handler {
    struct handler_host host;
    const struct exec_config *config;
    int epoll_fd, timer_fd;
    uint64_t armed_us; /* when timer_fd fires; UINT64_MAX: not armed */
    struct exec_slot *slots;
    struct exec_job *first, *last; /* the queue */
    unsigned out;                  /* jobs not settled */
    uint64_t served_us;            /* when a child last decided a message */
    uint64_t start_delay_us; /* how long the next start waits where the last one failed; or 0 */
    uint64_t start_at_us;    /* no child is started before */
    bool is_leaving;
    uint64_t warned_us;    /* a warning is not said more often than once a second */
    uint64_t heard_us;     /* the second in which children's lines are counted */
    unsigned heard, muted; /* lines said in it, and not said */
    char *chunk;           /* EXEC_CHUNK bytes for whoever reads or writes */
};

/* --- exec.c --- */

/* The handler wants to look at its deadlines then. */
void exec_arm(struct handler *h, uint64_t when_us);

/* A message that a child did not look at: first in the queue. */
void exec_queue_again(struct handler *h, struct exec_job *job);

/* A child ended, or could not be started, without having done anything. */
void exec_start_failed(struct handler *h);

#endif

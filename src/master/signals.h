/* Signals to the master. A signal only wakes the loop (signalfd); what is pending is then taken in
 * the order of its rank, most urgent first. Doubles of one signal become one. */
#ifndef MASTER_SIGNALS_H
#define MASTER_SIGNALS_H

#include "common/base.h"

#include <signal.h>
#include <stdbool.h>

/* In the order of rank. */
enum signals_action {
    SIGNALS_STOP,    /* TERM, INT */
    SIGNALS_DRAIN,   /* QUIT */
    SIGNALS_REAP,    /* CHLD */
    SIGNALS_RELOAD,  /* HUP */
    SIGNALS_REOPEN,  /* USR1 */
    SIGNALS_UPGRADE, /* USR2 */
    SIGNALS_NONE,
};

struct signals {
    int fd;           /* signalfd: readable when something is pending */
    unsigned pending; /* bit set of enum signals_action */
    sigset_t old_mask;
    struct sigaction old_pipe;
};

/* Blocks the handled signals, ignores SIGPIPE and opens the descriptor. Returns 0, or -1 with errno
 * and everything as it was. */
MS_MUST_CHECK int signals_open(struct signals *s);

/* Closes and restores mask and disposition. */
void signals_close(struct signals *s);

/* In a child: empty mask, every disposition the default, descriptor closed. */
void signals_reset_child(struct signals *s);

/* Takes what has arrived into pending; never blocks. */
void signals_collect(struct signals *s);

/* Notes one signal number; one that is not handled is left out. Pure. */
void signals_note(unsigned *pending, int signo);

/* Removes the most urgent from pending and returns it, SIGNALS_NONE where nothing is. Pure. */
enum signals_action signals_next(unsigned *pending);

#endif

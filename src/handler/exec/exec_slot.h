/* One child and the message it has. What it reads, says and ends with decides the message; then it
 * is free for the next one, or ends. Never gives a message to a child by itself: exec.c does. */
#ifndef HANDLER_EXEC_EXEC_SLOT_H
#define HANDLER_EXEC_EXEC_SLOT_H

#include "handler/exec/exec_state.h"

enum exec_slot_end {
    EXEC_END_LEAVE, /* its standard input ends; if that does not help, EXEC_END_TERM */
    EXEC_END_TERM,  /* SIGTERM; if that does not help, EXEC_END_KILL */
    EXEC_END_KILL,  /* SIGKILL */
};

/* Gives a job to a slot that is free (a child is started) or idle. Returns 0 (the job is the
 * slot's, and perhaps settled), or -1 with errno where no child can be started: the job stays the
 * caller's. */
MS_MUST_CHECK int exec_slot_give(struct handler *h, struct exec_slot *slot, struct exec_job *job);

/* That part of the child may be ready; no harm where it is not. */
void exec_slot_event(struct handler *h, struct exec_slot *slot, enum exec_child_part part);

/* Its deadline has come. */
void exec_slot_due(struct handler *h, struct exec_slot *slot);

/* Ends the child of a slot that is not free; its group gets the signals. A job that it has is the
 * caller's to take before. */
void exec_slot_end(struct handler *h, struct exec_slot *slot, enum exec_slot_end how);

/* The same, and the job that it has, if any, has failed for that reason. */
void exec_slot_fail(struct handler *h, struct exec_slot *slot, enum exec_slot_end how,
                    const char *what, int error);

#endif

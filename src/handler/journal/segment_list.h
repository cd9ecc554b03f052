/* Lists the segments of a journal, and tells which are finished, whether a msockd runs on it or
 * not. Takes no lock, so it disturbs neither a worker nor recovery, and follows no link. */
#ifndef HANDLER_JOURNAL_SEGMENT_LIST_H
#define HANDLER_JOURNAL_SEGMENT_LIST_H

#include "common/base.h"

enum listed_state {
    LISTED_WRITING,  /* somebody holds its lock: a worker that lives, or recovery */
    LISTED_FINISHED, /* nobody will write a byte of it again, nor mend it */
    LISTED_TORN,     /* a crash or a disk left it empty or not whole: recovery will mend it */
};

/* "writing", ... Static. */
const char *listed_state_name(enum listed_state state);

struct listed_segment {
    const char *name; /* "<ULID>-w<worker>.ndjson", in journal/ */
    enum listed_state state;
    unsigned worker;
    uint64_t bytes;
    uint64_t begun_us, written_us; /* since 1970: of its name, of the last write */
};

struct segment_list {
    const char *data_dir;
    void (*found)(void *arg, const struct listed_segment *segment);
    void (*unread)(void *arg, const char *name, int error); /* one that cannot be read */
    void *arg;
};

/* Calls found for each segment, in the order of their names; one that is taken away meanwhile is
 * left out. One that is not sealed, as after a crash or with sync=no, is read through. Returns 0,
 * or -1 with errno where the journal cannot be read at all. */
MS_MUST_CHECK int segment_list_run(const struct segment_list *list);

#endif

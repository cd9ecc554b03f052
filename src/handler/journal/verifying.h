/* What the files of verify share: verify_segments.c reads the journal, verify.c compares files and
 * blobs with it. */
#ifndef HANDLER_JOURNAL_VERIFYING_H
#define HANDLER_JOURNAL_VERIFYING_H

#include "handler/journal/journal.h"
#include "handler/journal/verify.h"

#include <sys/queue.h>

#define VERIFY_DIR  (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define VERIFY_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

/* A file that nothing has explained yet. */
struct suspect {
    STAILQ_ENTRY(suspect) link;
    enum verify_what what;
    char *path;
    /* VERIFY_WRONG: what it holds. */
    uint64_t size;
    char sha256[SHA256_HEX_LEN + 1]; /* "": it is no regular file */
};

STAILQ_HEAD(suspect_list, suspect);

struct verifying {
    const struct verify *verify;
    struct verify_tally tally;
    struct digester *digester;
    char *block;
    int root;
    struct named named;
    void *segments; /* of tsearch, of struct verify_segment */
    struct suspect_list suspects;
    /* the segment that is being read */
    const char *path;
    const char *segment; /* its name, which stays */
    bool is_open;
    uint64_t end;              /* what is known to be settled, up to here */
    struct verify_finding run; /* a stretch of it that may go on; n 0: none */
};

/* --- verify.c --- */

void verify_found(struct verifying *v, const struct verify_finding *finding);

/* A finding about a whole file; record may be NULL, and errno is that of VERIFY_UNREAD. */
void verify_say(struct verifying *v, enum verify_what what, const char *path, const char *record);
void verify_progress(struct verifying *v);

/* --- verify_segments.c --- */

/* Reads all segments, or, when it is called again, what has come since. Returns 0, or -1 with errno
 * where the journal cannot be read at all. */
MS_MUST_CHECK int verify_segments(struct verifying *v);

/* Counts the segments that workers write to now: since the first was read, they may have left some
 * and begun others. */
void verify_count_open(struct verifying *v);
void verify_segments_fini(struct verifying *v);

#endif

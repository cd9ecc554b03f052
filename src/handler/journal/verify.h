/* Proves a data directory, whether a msockd runs on it or not: every record by its CRC-32, every
 * file and blob by size and SHA-256. Reads only, and follows no link. Before it says that no record
 * explains a file, it waits for the commits that are under way. */
#ifndef HANDLER_JOURNAL_VERIFY_H
#define HANDLER_JOURNAL_VERIFY_H

#include "common/base.h"

enum verify_what {
    VERIFY_DAMAGED,   /* bytes in a segment that are no whole record */
    VERIFY_REPLACED,  /* a line that recovery put in the place of such bytes */
    VERIFY_TORN,      /* the end of a segment that nobody writes */
    VERIFY_MISSING,   /* a file or blob that a record names */
    VERIFY_WRONG,     /* a file or blob that is not what any record that names it says (named.c) */
    VERIFY_UNNAMED,   /* a file or blob that no record names */
    VERIFY_LEFTOVER,  /* a temporary file of a crash, which the next recovery removes */
    VERIFY_IRREGULAR, /* it has the name of a segment, but is no regular file */
    VERIFY_UNREAD,    /* something that cannot be read; error says why */
};

/* "damaged", ... Static. */
const char *verify_name(enum verify_what what);

struct verify_finding {
    enum verify_what what;
    const char *path;   /* beneath the data directory; any bytes */
    uint64_t at, n;     /* in a segment: where, and how many bytes */
    const char *record; /* id of the youngest record that names it, or NULL */
    int error;          /* errno, or 0 */
};

struct verify_tally {
    uint64_t segments, open; /* open: a worker writes to them, in the end */
    uint64_t records, bytes; /* of segments */
    uint64_t files, blobs;   /* that were read */
    uint64_t file_bytes;
    uint64_t findings;
};

struct verify {
    const char *data_dir;
    /* RFC 3339, or its beginning: files and blobs of older records are not read, and what no record
     * names is not looked for; NULL: all. */
    const char *since;
    void (*found)(void *arg, const struct verify_finding *finding);
    void (*progress)(void *arg, const struct verify_tally *so_far); /* often */
    void *arg;
};

/* Returns 0 where it came to an end, or -1 with errno where the directory cannot be read at all.
 * tally_out says what was seen, and findings 0 that all of it is sound. */
MS_MUST_CHECK int verify_run(const struct verify *verify, struct verify_tally *tally_out);

#endif

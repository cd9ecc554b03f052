/* What the files of the journal share. data_dir.h is what the master and the worker know of it. */
#ifndef HANDLER_JOURNAL_JOURNAL_H
#define HANDLER_JOURNAL_JOURNAL_H

#include "common/text.h"
#include "common/thread.h"
#include "handler/handler.h"
#include "handler/journal/data_dir.h"

#include <limits.h>
#include <sys/types.h>

/* --- ulid.c --- */

/* ULIDs: 48 bits of milliseconds and 80 random bits as 26 characters that sort like the time. A
 * generator never gives the same or a smaller one again, also where its time goes back. The time of
 * ids and of names of segments is one that no step of the wall clock moves, and the same in all
 * workers: so those of one worker sort behind those that another one made before. */

#define ULID_LEN 26 /* without NUL */

/* One thread uses it at a time. */
struct ulid_source {
    uint64_t ms;              /* of the last one */
    uint16_t high;            /* the random bits of the last one: 16 */
    uint64_t low;             /* and 64 */
    char text[ULID_LEN];      /* the last one; its first ten characters are those of ms */
    unsigned char pool[1000]; /* random bytes, fetched many at a time */
    size_t pool_left;
    /* ms_random. Tests set another. */
    void (*random)(void *out, size_t n);
};

void ulid_init(struct ulid_source *source);

/* The next one for the time time_us (microseconds since 1970), or just above the last one where
 * that is of the same millisecond or later. Writes ULID_LEN characters and no NUL. */
void ulid_next(struct ulid_source *source, uint64_t time_us, char out[ULID_LEN]);

/* The next ones come after this one, whatever time they are for. */
void ulid_begin_after(struct ulid_source *source, const char id[ULID_LEN]);

/* Does the text begin with one, with exactly ULID_LEN of its characters? */
bool ulid_begins(const char *text);

/* The milliseconds since 1970 of one. */
uint64_t ulid_ms(const char *text);

/* As bytes, and as text again. */
#define ULID_BYTES 16
void ulid_pack(const char *text, uint8_t out[ULID_BYTES]);
void ulid_unpack(const uint8_t bytes[ULID_BYTES], char out[ULID_LEN]);

/* --- temp_file.c --- */

/* A body on its way to its name. It is made safe under a temporary and locked name in the data
 * directory and then renamed: a file without any name that is made safe and linked afterwards is
 * lost by a power cut where the file system has no journal, since its link count on disk is 0. */

#define TEMP_NAME_LEN (sizeof(DATA_DIR_TEMP_PREFIX) + ULID_LEN)

/* Makes temporary files. One thread uses it at a time. */
struct temp_maker {
    const struct file_ops *ops;
    struct ulid_source ids;
};

struct temp_file {
    int fd;
    int dir_fd;               /* the directory of name; borrowed */
    bool borrowed;            /* fd is someone else's */
    char name[TEMP_NAME_LEN]; /* "" where it has none any more */
};

#define TEMP_FILE_NONE ((struct temp_file){.fd = -1})

void temp_maker_init(struct temp_maker *maker, const struct file_ops *ops);

/* A new name. */
void temp_file_name(struct temp_maker *maker, char out[TEMP_NAME_LEN]);

/* An empty file in dir_fd, which must stay open as long as the file is. Returns 0, or -1 with
 * errno. */
MS_MUST_CHECK int
temp_file_create(struct temp_maker *maker, int dir_fd, struct temp_file *file_out);

/* Gives a descriptor's file, which has no name, one in dir_fd; the descriptor stays the caller's.
 * Returns 0, or -1 with errno where it cannot be linked there and has to be copied. */
MS_MUST_CHECK int
temp_file_adopt(struct temp_maker *maker, int fd, int dir_fd, struct temp_file *file_out);

/* Renames it. Where replace is false, the name must not exist (EEXIST). Returns 0, or -1 with
 * errno: EXDEV where dir_fd is another file system. */
MS_MUST_CHECK int temp_file_rename(struct temp_maker *maker, struct temp_file *file, int dir_fd,
                                   const char *name, bool replace);

/* Is this a name that temp_file_create gives? No file of a sender has one: recovery removes it. */
bool temp_file_is_name(const char *name);

/* Does this name begin as our names do? No sender may give one (path_check). */
bool temp_file_is_reserved(const char *name);

/* Removes the temporary name and closes. */
void temp_file_close(struct temp_maker *maker, struct temp_file *file);

/* --- store.c --- */

/* One body to be stored. */
struct store_put {
    struct message *m;      /* only read */
    struct outcome outcome; /* how it ended; meaningful after store_run */
    bool blob;              /* under blobs/<sha256>, else under files/ and its path */
    int dir_fd;             /* while it is under way: of the directory that gets the name, or -1 */
    uint64_t dir_place;     /* of that directory */
    bool named;             /* that directory's own name is safe */
    bool stored;            /* it has its name already */
    bool found;             /* the body was there already */
    bool duplicate;         /* a file of this path and content was there already */
    unsigned number;        /* of "path.<number>"; 0: the path itself */
    struct temp_file temp;  /* while it is under way */
};

#define STORE_PARENTS_MAX SYNC_GROUP_MAX

/* An open directory, and where it stands. */
struct store_dir {
    int fd;
    uint64_t place;
};

/* A directory whose name in the one above is not known to be safe. */
struct store_parent {
    struct store_dir parent, dir;
    size_t sync;             /* the parent's place among those that are synced */
    int error;               /* errno of its fsync, or 0 */
    bool unnamed;            /* that went well, but the parent's own name is not safe */
    char made[NAME_MAX + 1]; /* its name where we have made it, else "" */
};

/* Of a blob that has been read and whose content is what its name says. */
struct store_blob {
    ino_t inode;
    struct timespec changed;
};

#define STORE_BLOBS_MAX 1024

/* One thread uses it at a time. */
struct store {
    enum on_conflict on_conflict;
    const struct file_ops *ops;
    const struct data_dirs *dirs; /* borrowed; open during store_run */
    struct dir_syncs *syncs;      /* borrowed */
    struct temp_maker maker;
    struct sync_group group;
    struct digester *digester; /* of its own: it may run beside the worker */
    struct store_parent parents[STORE_PARENTS_MAX];
    size_t parent_count;
    int parents_error;        /* errno of the last parent that could not be synced */
    struct store_blob *blobs; /* NULL until the first is known; a slot by its inode's number */
};

/* Returns 0, or -1 with errno. */
MS_MUST_CHECK int store_init(struct store *store, enum on_conflict on_conflict,
                             const struct data_dirs *dirs, struct dir_syncs *syncs);
void store_fini(struct store *store);

/* Stores all that have not failed already; each has its own outcome. What could not be made safe
 * may still have got its name: another sender may rely on it by now, so it is not taken away again.
 */
void store_run(struct store *store, struct store_put *puts, size_t count);

/* Of the name that it asks for. */
uint64_t store_place_of(const struct store_put *put);

/* When the lines are written: fails each put whose body was found and has been taken away since.
 * Its taker knew nothing of this message. */
void store_check(const struct store *store, struct store_put *puts, size_t count);

#define STORE_NAME_LEN 2304

/* The name under files/ or blobs/ that it has got, NUL-terminated. Returns out. */
const char *store_name(const struct store_put *put, char out[STORE_NAME_LEN]);

/* --- between store.c and file_store.c --- */

/* Gives the put its name in its directory, with a copy where that is another file system. Returns
 * 0, or -1 with errno. */
MS_MUST_CHECK int
store_rename(struct store *store, struct store_put *put, const char *name, bool replace);

enum store_sameness {
    STORE_OTHER,  /* another content, or no regular file */
    STORE_SAME,   /* the same, and safe */
    STORE_UNREAD, /* cannot be told: errno says why */
};

/* What is the file of that name in the put's directory? */
enum store_sameness
store_is_same(struct store *store, const struct store_put *put, const char *name);

/* Opens the directory that is to get the name. Sets the outcome where that fails. */
void file_store_open(struct store *store, struct store_put *put);

/* Each gives the put its name and sets its outcome. */
void file_store_place(struct store *store, struct store_put *put);
void blob_store_place(struct store *store, struct store_put *put);

/* True where the blob is there already, and its body need not be written. */
bool blob_store_has(struct store *store, struct store_put *put);

/* Notes the directory `name` of another one, whose name has to be made safe there, unless that is
 * known. made: this was a moment ago; it is removed again where that fails. Returns 0, or -1 with
 * errno. */
MS_MUST_CHECK int store_parent(struct store *store, const struct store_dir *parent,
                               const struct store_dir *dir, const char *name, bool made);

/* --- record.c --- */

/* A message as one NDJSON line of the journal, and its receipt. Pure: bytes and time are arguments.
 * A line is written in two parts, since a file's own name is known only when it has been linked. */

/* Formats times; a second's text is made once. One thread uses it at a time. */
struct record_clock {
    uint64_t second; /* of text, since 1970 */
    char text[CLOCK_RFC3339_LEN];
};

/* Everything up to and with "sha256":"...", without a comma behind it. m->size, sha256, kind and
 * value are read, the body is not. */
void record_head(struct buffer *out, const char id[ULID_LEN], uint64_t real_us,
                 struct record_clock *clock, const struct message_origin *origin,
                 const struct message *m);

/* Ends the line that begins at byte `from` of out with the body itself: "json" for JSON, "text" for
 * other UTF-8 without NUL, else "base64". */
void
record_body(struct buffer *out, size_t from, enum message_kind kind, const char *body, size_t n);

/* Where a body is that is not in its line: "blob" in "blobs/", "file" in "files/". */
struct record_place {
    const char *key;
    const char *directory;
    const char *name;
    const char *path; /* as its sender calls it, where that is not the name; or NULL */
};

/* Ends the line that begins at byte `from` of out with where the body is. */
void record_end_with_place(struct buffer *out, size_t from, const struct record_place *place);

/* Ends the line that begins at byte `from` of out: its CRC-32 becomes the last member, and a
 * newline stands behind it. */
void record_end(struct buffer *out, size_t from);

/* Is the last member of this line, without its newline, the CRC-32 of the bytes before it? */
bool record_crc32_is_right(const char *line, size_t n);

/* Is this line, without its newline, whole? Its last member "crc32" is that of the bytes before it;
 * lines of journals from before that member are taken where they are JSON. A blank line is whole,
 * and so is one that stands in the place of a damaged stretch. */
bool record_is_whole(const char *line, size_t n);

/* The id of a whole record. False where the line is none. The line need not end with NUL, but n is
 * less than the bytes that may be read. */
bool record_id(const char *line, size_t n, char id_out[ULID_LEN]);

/* The id with which a line begins that is known to be whole. False where it is no record. */
bool record_id_at(const char *line, size_t n, char id_out[ULID_LEN]);

/* Its time, in whole seconds; 0 where there is none. */
uint64_t record_time_ms(const char *line, size_t n);

/* Is the body of this whole record in a file or a blob? */
bool record_has_place(const char *line, size_t n);

/* The members of a whole record, without a body that is in its line. NULL where it is none, as a
 * blank line. The caller frees it. */
struct json_t *record_members(const char *line, size_t n);

/* A record taken apart. Texts end with NUL, and are "" where there are none. */
struct record_parts {
    const char *time, *listener, *proto, *peer, *kind, *identity, *sha256;
    const char *file, *blob, *path; /* of a body that is not in the line */
    const char *key;                /* the sender's id: any bytes */
    size_t key_len;
    uint64_t size;
    const char *body; /* in the line; NULL: it is not there */
    size_t body_len;
    bool is_json; /* the body is a document, as it stands in the line */
};

/* Takes a whole record apart, which it writes to: all parts are in it. Needs a NUL at line[n].
 * False where it is none. */
bool record_take_apart(char *line, size_t n, struct record_parts *parts_out);

/* Its length without blanks at the end: 0 for a blank line. */
size_t record_trimmed(const char *line, size_t n);

/* Does this whole line stand in the place of a damaged stretch? */
bool record_is_damage(const char *line, size_t n);

/* Writes n bytes that stand in the place of a damaged stretch of n bytes, the last of which is a
 * newline: what was there is in the file `copy`. */
void record_damage(char *out, size_t n, const char *copy);

/* The length of the whole record with which these bytes begin, whatever follows it; 0: there is
 * none. */
size_t record_first(const char *bytes, size_t n);

/* Where the last whole record begins that a damaged line of n bytes, without its newline, ends
 * with: n where there is none, 0 for the whole line. */
size_t record_find(const char *line, size_t n);

/* The reply to a committed message; place NULL where its body is in the line. */
void record_receipt(struct buffer *out, const char id[ULID_LEN], const struct message *m,
                    const struct record_place *place, bool duplicate);

#define SEGMENT_SUFFIX   ".ndjson"
#define SEGMENT_NAME_LEN (ULID_LEN + 16) /* "<ULID>-w<worker>.ndjson" */

/* How to open one that somebody else writes. */
#define SEGMENT_READ (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

/* A segment with this mode was left in order, or recovered: all of it is known to be whole. */
#define SEGMENT_SEALED 0440

/* Is this a name that segment_open gives? */
bool segment_is_name(const char *name);

/* The entries of a directory that have such a name, sorted. Returns how many, or -1 with errno; the
 * caller frees them with that count, which may be -1. */
struct dirent;
MS_MUST_CHECK int segment_names(int dir_fd, struct dirent ***names_out);
void segment_names_free(struct dirent **names, int count);

/* What others have done to a segment. Whoever takes the journal's files may do anything with them
 * at any moment, also with the one that is being written. */
enum segment_state {
    SEGMENT_SOUND,     /* as we left it */
    SEGMENT_GONE,      /* its name is moved away or removed, or leads nowhere */
    SEGMENT_REPLACED,  /* another file has its name */
    SEGMENT_SHORTER,   /* it has lost bytes */
    SEGMENT_LONGER,    /* somebody has appended to it */
    SEGMENT_READ_ONLY, /* its mode, or an attribute, says that nobody writes to it */
    SEGMENT_UNCUT,     /* our own: it could not be cut back after a failure */
};

/* A segment that was left because of that. */
struct segment_left {
    enum segment_state state; /* SEGMENT_SOUND: there is none */
    char name[SEGMENT_NAME_LEN];
};

/* One thread uses it at a time. */
struct segment {
    const struct file_ops *ops;
    struct dir_syncs *syncs; /* borrowed */
    unsigned worker;
    struct ulid_source ids;              /* of names */
    const _Atomic int64_t *id_offset_us; /* of struct handler_host; borrowed, or NULL */
    int dir_fd; /* the journal directory, for as long as fd is open; a copy of our own */
    int fd;     /* -1: none is open */
    dev_t device;
    ino_t inode;
    uint64_t good;      /* bytes */
    uint64_t opened_us; /* monotonic */
    char name[SEGMENT_NAME_LEN];
    struct segment_left left; /* the last one; whoever says so clears it */
};

void segment_init(struct segment *segment, struct dir_syncs *syncs, unsigned worker);

/* A new empty segment in the directory, locked, its name safe. None may be open. Returns 0, or -1
 * with errno. */
MS_MUST_CHECK int segment_open(struct segment *segment, int dir_fd);

static inline bool
segment_is_open(const struct segment *segment)
{
    return segment->fd >= 0;
}

/* What has become of the open segment, whose file should stand at `path`; NULL: under its name in
 * the directory in which it was opened. */
enum segment_state segment_look(const struct segment *segment, const char *path);

/* Appends n bytes of whole lines and makes them safe. They count if segment_look finds it sound
 * then: until the caller calls file_unmark they stand behind a mark. Returns 0, or -1 with errno,
 * and then the segment was cut back to what was good before and left for good: a failed fsync has
 * dropped the pages, a second one would lie. EPERM: nobody may write to this file any more, but
 * perhaps to another. */
MS_MUST_CHECK int segment_append(struct segment *segment, const void *lines, size_t n);

/* Leaves it: sealed, or removed where it is empty; as it is where others have changed it. Nothing
 * to do where none is open. */
void segment_close(struct segment *segment);

/* The same, because of that, which is noted unless something else is. */
void segment_lose(struct segment *segment, enum segment_state state);

/* The same, and the n bytes that were appended last are cut off, where the file is still ours. */
void segment_take_back(struct segment *segment, enum segment_state state, size_t n);

/* --- newest.c --- */

/* The largest id among the names of the segments in this directory and the last records of each
 * worker's newest: whoever begins after it goes on in the order of writing, also where the clock
 * was set back. Reads the names of all segments, and the ends of some. False where there is none.
 */
bool newest_id(int journal_fd, char id_out[ULID_LEN]);

/* The id of the last whole record of a segment, and its record_time_ms. False where there is none.
 */
bool newest_in_segment(int fd, char id_out[ULID_LEN], uint64_t *time_ms_out);

/* --- position.c --- */

/* The id up to which names are taken for relayed, or will be soon: a worker begins segments behind
 * it alone, and looks once its segment is there. Returns 1; 0 where there is none, or a damaged
 * one; -1 with errno where that cannot be told. */
MS_MUST_CHECK int position_newest(const struct file_ops *ops, int root, char id_out[ULID_LEN]);

/* --- scan.c --- */

/* A piece of a segment: a whole line, or bytes that are none. The newline of a whole line at the
 * end of the segment may be missing. */
struct segment_line {
    uint64_t at;      /* offset */
    size_t n;         /* bytes, with the newline or what stands in its place */
    const char *text; /* valid during the call */
    bool whole;
    bool bad_end; /* whole but for its newline: its last byte is another one, or it has none */
    bool no_end;  /* it has none */
};

/* Returns 0, or -1 with errno to give up. */
typedef int (*segment_line_fn)(void *arg, const struct segment_line *line);

/* Reads a segment from byte `from`, where a line begins, to byte `size`, piece by piece. Damage
 * never hides the whole lines behind it. Returns 0, or -1 with errno. */
MS_MUST_CHECK int segment_scan(const struct file_ops *ops, int fd, uint64_t from, uint64_t size,
                               segment_line_fn fn, void *arg);

/* --- named.c --- */

/* The paths that records name, and what they say is there. A worker gives names in the order of its
 * lines, so of one segment the last record of a path counts. Between two workers no order is known:
 * an id is made long before its file has its name. So the last record of each segment counts. */

struct named_content {
    struct named_content *next;
    uint64_t size;
    unsigned segments; /* of so many it is the last */
    unsigned segment;  /* the one of these that was read last; 0: it is not the last of that */
    char sha256[SHA256_HEX_LEN + 1];
};

struct named_path {
    char *path;            /* "files/..." or "blobs/..." */
    char id[ULID_LEN + 1]; /* of the youngest record that names it */
    bool wanted;           /* the caller's */
    const char *segment;   /* the caller's */
    struct named_content *contents;
};

/* All zero in the beginning. */
struct named {
    void *tree;       /* of tsearch, of struct named_path */
    unsigned segment; /* the number, from 1 on, of the segment that is being read */
    bool keep_all;    /* no record takes the place of another one any more */
};

/* A record of the segment names a path. Never NULL. */
struct named_path *
named_add(struct named *named, const char *path, const char *id, uint64_t size, const char *sha256);
const struct named_path *named_find(const struct named *named, const char *path); /* or NULL */

/* Does a record that counts say that this is what the path holds? sha256 "": it is no content. */
bool named_is(const struct named_path *entry, uint64_t size, const char *sha256);
void named_fini(struct named *named);

/* --- recovery.c --- */

/* What a crash, a power cut or a disk left behind: last lines that are torn, damaged stretches
 * before whole lines, empty segments, temporary names. Safe while others write and recover: only
 * what nobody has locked is touched. A sealed segment is known to be whole and is not read. */

/* Where the bytes of damaged stretches are kept, beneath journal/. */
#define DAMAGED_DIR "damaged"

struct recovery_tally {
    unsigned cut;       /* segments whose end was torn and cut off */
    unsigned damaged;   /* stretches that were copied and replaced */
    unsigned emptied;   /* segments without a line, removed */
    unsigned leftovers; /* temporary files, removed */
    unsigned shared;    /* temporary names, kept: the file may have another one too */
    unsigned failed;    /* what should have been cut or removed and could not be */
};

/* Goes through the data directory and logs what it changed. Costs a system call for each sealed
 * segment that is there, and reads all others: too much where someone waits for a worker. There is
 * no hurry, since nobody ever writes to a segment again that another has left; so the journal calls
 * it in a thread of its own when it is created. A second run changes nothing. */
/* It ends early once *stop is true; NULL: it does not. */
void recovery_run(const struct data_dirs *dirs, const struct file_ops *ops,
                  const _Atomic bool *stop, struct recovery_tally *tally_out);

/* --- recall.c --- */

/* The workers of one daemon have the data directory together, by a lock that dirs->root holds until
 * it is closed (data_dir_hold): a journal calls this before it takes its first message. */
void recall_hold(const struct data_dirs *dirs, const struct dedup *dedup);

/* Gives the host's dedup what it needs of the journal: all records within the window, where nobody
 * has done that since the start; and those of workers that have died. Before the first of these it
 * waits for workers of an earlier daemon, whose master was killed, as long as they may take to
 * drain. May read much: the journal calls it in a thread of its own. It ends early once *stop is
 * true; NULL: it does not. */
void recall_run(const struct handler_host *host, const struct data_dirs *dirs,
                const struct file_ops *ops, const _Atomic bool *stop);

/* The memo of a committed message; put: where its body is, or NULL. And the receipt again, to a
 * copy of it. */
struct store_put;
void recall_memo(const char id[ULID_LEN], const struct store_put *put, uint8_t out[DEDUP_MEMO_LEN]);
void
recall_receipt(struct buffer *out, const struct message *m, const uint8_t bytes[DEDUP_MEMO_LEN]);

/* --- a batch (commit.c) --- */

/* The messages of one commit: their lines while they are formatted, the bodies to be stored, and
 * how it all ended. Filled by the worker's thread, then handed to whoever commits, then settled by
 * the worker's thread again: never two at a time. Invariant: entries are in the order of
 * submission, and so are their lines. */

#define BATCH_NO_PUT UINT32_MAX

struct batch_entry {
    struct message *m; /* owned until it is settled */
    uint32_t
        line_end;   /* of its line, or its line's head, in lines; it begins where the last ends */
    uint32_t put;   /* index, or BATCH_NO_PUT: the line is complete */
    uint8_t sender; /* the journal's */
    char id[ULID_LEN];
};

STAILQ_HEAD(batch_list, batch);

struct batch {
    struct helper_job job; /* its commit; first */
    STAILQ_ENTRY(batch) link;
    struct buffer lines;
    struct buffer joined; /* what goes to the segment, where some lines had only a head */
    struct batch_entry *entries;
    struct store_put *puts;
    uint32_t count, cap;
    uint32_t put_count, put_cap;
    struct ledger *ledger;
    size_t cost;            /* in the ledger: what batch_account has counted last */
    bool rotate;            /* a new segment first */
    bool rotated;           /* the segment was full or old behind it, and was left */
    struct outcome outcome; /* of the journal; the puts have their own besides */
    struct segment_left left;
};

struct batch *batch_create(struct ledger *ledger); /* NULL: it is not counted */
void batch_destroy(struct batch *batch); /* and the messages that are still in it; NULL is fine */

/* Adds a message. Its line, or head, is appended to lines first. put: its body is stored by
 * itself. Returns the entry, valid until the next one is added. */
struct batch_entry *
batch_add(struct batch *batch, struct message *m, const char id[ULID_LEN], bool put);

/* Makes the lines of what was stored, and drops those of what was not. Returns what is to be
 * written, which stays the batch's. */
const struct buffer *batch_join(struct batch *batch);

/* How the entry ended, after the commit. */
struct outcome batch_outcome(const struct batch *batch, const struct batch_entry *entry);

static inline const struct store_put *
batch_put(const struct batch *batch, const struct batch_entry *entry)
{
    return entry->put == BATCH_NO_PUT ? NULL : &batch->puts[entry->put];
}

/* Where a put's body is; the name is in name_out. */
struct record_place batch_place(const struct store_put *put, char name_out[STORE_NAME_LEN]);

/* Forgets its messages, which have been settled, and keeps a moderate amount of memory. */
void batch_reset(struct batch *batch);

/* --- commit.c --- */

/* Makes one batch safe: bodies first, then their names, then the lines. Blocks on the disk, and
 * runs in the worker's thread or in that of its lane, never in both at once. It neither settles
 * nor logs, both of which are the worker's. */

struct commit {
    const struct config *config;
    const struct file_ops *ops;
    struct dir_syncs syncs;
    struct data_dirs dirs;
    uint64_t segment_dirs; /* dirs.opened when the segment was opened */
    struct segment segment;
    struct store store;
};

/* Returns 0, or -1 with errno. Opens nothing yet. */
MS_MUST_CHECK int commit_init(struct commit *commit, const struct config *config,
                              const struct file_ops *ops, unsigned worker);
void commit_fini(struct commit *commit); /* leaves the segment */

/* Commits the batch: sets its outcome and those of its puts. */
void commit_run(struct commit *commit, struct batch *batch);

/* Leaves the segment where it is older than segment_age. Returns whether it did. */
bool commit_check_age(struct commit *commit, uint64_t now_us);

/* As create of struct handler_ops, with these instead of the plain system calls. */
struct journal *journal_create_with(const struct handler_host *host, const struct file_ops *ops,
                                    char error[HANDLER_ERROR_LEN]);

#endif

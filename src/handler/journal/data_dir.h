/* The data directory: journal/, files/, blobs/ and temporary files on their way into them. */
#ifndef HANDLER_JOURNAL_DATA_DIR_H
#define HANDLER_JOURNAL_DATA_DIR_H

#include "config/config.h"
#include "handler/journal/file_ops.h"
#include "handler/journal/sync_group.h"
#include "proto/message.h"

#include <sys/types.h>

/* --- dir_sync.c --- */

/* What the worst fsync of a directory said. */
enum dir_health {
    DIR_WELL = 0,
    DIR_DOUBTED, /* no room */
    DIR_FAILED,  /* anything else */
};

struct dir_slot {
    uint64_t device, inode, birth;
    bool used;
    uint64_t place; /* where its name was seen made safe; 0: nowhere */
    enum dir_health health;
};

/* What this process knows of directories: whose names it has seen made safe, and which have failed
 * an fsync. The kernel reports a failure once and forgets it, with the names that it could not
 * write: another fsync would lie about these. So a directory that failed is not used again. One
 * that found no room is: a name that it gets later is written again. But one that it had then is
 * doubted for good. One thread uses it at a time. */
struct dir_syncs {
    const struct file_ops *ops;
    struct dir_slot *slots; /* NULL until the first is noted */
    unsigned cap, count;
    unsigned kept; /* so many the last trim has left */
};

void dir_syncs_init(struct dir_syncs *syncs, const struct file_ops *ops);
void dir_syncs_fini(struct dir_syncs *syncs);

/* Between two batches: where very many are known, forgets those that were only seen to be safe, and
 * returns true. */
bool dir_syncs_trim(struct dir_syncs *syncs);

/* fsync of a directory. Returns 0, or -1 with errno; ENOTRECOVERABLE for one that failed before. */
MS_MUST_CHECK int dir_sync(struct dir_syncs *syncs, int fd);

/* Directories whose fsync is made at once, each once however often it is added. */
struct dir_group {
    size_t count;
    int fds[SYNC_GROUP_MAX]; /* borrowed */
    struct dir_slot ids[SYNC_GROUP_MAX];
    int errors[SYNC_GROUP_MAX]; /* as errno of dir_sync, or 0; after the run */
};

/* Adds one of SYNC_GROUP_MAX at most. Returns which it is. */
size_t dir_group_add(struct dir_group *group, int fd);
void dir_group_run(struct dir_group *group, struct dir_syncs *syncs, struct sync_group *sync);

/* Returns 0, or -1 with ENOTRECOVERABLE where an fsync of it failed before. */
MS_MUST_CHECK int dir_check(const struct dir_syncs *syncs, int fd);

/* Has an fsync of it found no room? Then a name that is there already must be given anew before it
 * counts. */
bool dir_is_doubted(const struct dir_syncs *syncs, int fd);

/* Where a directory stands beneath the data directory, as a number: its path beneath the one with
 * the number `above`. A name was made safe at one place, and is not where somebody has renamed the
 * directory since. Never 0. */
#define DIR_PLACE_ROOT UINT64_C(0xcbf29ce484222325)
uint64_t dir_place(uint64_t above, const char *path, size_t n);

/* Is the directory's own name at this place known to be safe, in the directory above and all
 * further up? Place 0: at none. */
bool dir_is_named(const struct dir_syncs *syncs, int fd, uint64_t place);
void dir_set_named(struct dir_syncs *syncs, int fd, uint64_t place);

/* --- data_dir.c --- */

/* Does a listener write to the journal? */
bool data_dir_has_journal(const struct config *config);

/* Creates what is missing (0750; given to config->uid and gid where the master is root and these
 * are set), makes it safe with all directories above that were made, and checks that the workers
 * will be able to write there. The data directory may be a symbolic link, but none of its parts:
 * they are the workers' to replace. All are as data_dir_trust wants them. Gives it a marker where
 * it has none and now is NULL, notes which parts are mounted, and stores in config which
 * directories they are. now is the configuration of workers that use the same directory: where it
 * is another one, it refuses and makes nothing. Where a listener has the handler journal, and now
 * has none or waits for no disk where config does, it tries what the file system can do, as the
 * workers' user. In the master, before the fork. Returns 0, or -1 with a sentence in error that
 * names the directory and the reason. */
MS_MUST_CHECK int
data_dir_prepare(struct config *config, const struct config *now, char error[CONFIG_ERROR_LEN]);

/* Names in the data directory itself that are on their way somewhere else begin with this. Their
 * user holds an OFD write lock on them; a name without a lock is a leftover of a crash. */
#define DATA_DIR_TEMP_PREFIX PATH_OWN_PREFIX

/* A file in the data directory that says which one it is: a UUID and a newline. */
#define DATA_DIR_MARKER "msockd.id"

/* An empty file in the data directory, its name ends with that of a part: a file system was mounted
 * on that part. Where none is any more, a start refuses rather than begin anew beneath. */
#define DATA_DIR_MOUNTED "msockd.mounted-"

/* Between data_dir.c and data_dirs.c. */

extern const char *const data_dir_parts[DATA_PARTS];        /* their names */
#define DATA_DIR_PART (O_RDONLY | O_DIRECTORY | O_NOFOLLOW) /* for file_ops */

/* Reads the marker. Returns 0, or -1 with errno: ENOENT where there is none, EBADMSG where it holds
 * something else. */
MS_MUST_CHECK int data_id_read(int root, char id_out[DATA_ID_LEN + 1]);

/* Which directory is open, and is a file system mounted there? Returns 0, or -1 with errno. */
MS_MUST_CHECK int data_part_look(int root, int fd, struct data_part *part_out);

/* Is it the same directory, or at least one that no mount has put there or taken away? */
bool data_part_is(const struct data_part *now, const struct data_part *part);

/* --- data_trust.c --- */

struct data_fault {
    char text[384]; /* the directory, its owner and its mode */
    char mend[384]; /* a command */
};

/* Do the data directory, journal/, files/ and blobs/, as far as they are there and may be looked
 * at, belong to that user, and may nobody else write there? Otherwise says which does not. */
bool data_dir_is_trusted(const char *data_dir, uid_t uid, struct data_fault *fault_out);

/* The same for the workers of that configuration. Returns 0, or -1 with a sentence in error. */
MS_MUST_CHECK int data_dir_trust(const struct config *config, char error[CONFIG_ERROR_LEN]);

/* --- data_try.c --- */

/* Tries what the journal will ask of the file system of an open directory; path: for sentences.
 * Logs what is done in another way there, each lack once over all calls with the same *told, 0 at
 * first. Where there is no room it tries nothing, and says so. Returns 0, or -1 with a sentence in
 * error where a promise would break. */
MS_MUST_CHECK int data_try(int dir_fd, const char *path, const struct file_ops *ops, unsigned *told,
                           char error[CONFIG_ERROR_LEN]);

/* Is this errno that of a file system, or a kernel, which has no such call? */
bool data_cannot(int error);

/* Writes the sentence about something that the named call, and why, has not made safe. Returns -1
 * with that errno. */
int data_unsafe(const char *path, const char *call, int reason, char error[CONFIG_ERROR_LEN]);

/* --- data_dirs.c --- */

/* A new unlinked file, read-write, on the file system of files/, so that it can be linked there.
 * Returns its descriptor, or -1 with errno. */
int data_dir_spill_open(const struct config *config);

/* The directories, open. All are -1 or none. */
struct data_dirs {
    int root, journal, files, blobs;
    uint64_t
        opened; /* counts up whenever one of them was opened: what is open beneath may be gone */
    struct stat marker_is; /* as it was when it was read */
};

#define DATA_DIRS_CLOSED ((struct data_dirs){.root = -1, .journal = -1, .files = -1, .blobs = -1})

/* Opens all, through no symbolic link, and creates journal/, files/ and blobs/ where they are gone;
 * never the data directory itself, nor a part on which a file system was mounted when it was
 * prepared. Little to do where they are open and still what stands under these names. Returns 0, or
 * -1 with errno. ESTALE: what stands under the name of the data directory, or of a part that was or
 * is mounted, is not the directory that was prepared: it was unmounted, moved or replaced. It works
 * again once that directory is back in its place. */
MS_MUST_CHECK int
data_dirs_open(struct data_dirs *dirs, const struct config *config, struct dir_syncs *syncs);
void data_dirs_close(struct data_dirs *dirs);

/* Around a commit with bodies, from before the first name to behind the last line: a read lock of
 * the data directory, on the byte whose number is the monotonic time in microseconds. By it others
 * know a file whose record is still to come. Where there are no such locks they do not, so that is
 * no failure of the commit. The end gives back all names too. */
void data_dirs_begin_commit(const struct data_dirs *dirs);
void data_dirs_end_commit(const struct data_dirs *dirs);

/* Is a commit with bodies under way, in any process, that began at until_us or before? */
bool data_dir_has_commit(int root, uint64_t until_us);

/* Names of bodies, by which commits and removals keep off each other. Each first takes the name, by
 * a read lock on a byte that stands for its place (dir_place), and then looks whether the other
 * side has it; the commit steps back. A process that dies gives all its names back. */
enum name_side {
    NAME_COMMITTED, /* a record will name it */
    NAME_REMOVED,
};

/* Returns 0, or -1 with errno where there is no lock: the other side does not see it then. */
MS_MUST_CHECK int data_name_take(int root, enum name_side side, uint64_t place);
void data_names_give(int root, enum name_side side); /* all of this descriptor */

/* Has another descriptor that name? */
bool data_name_is_taken(int root, enum name_side side, uint64_t place);

/* Has the directory such locks? Else errno says why. */
bool data_dir_has_locks(int root);

/* For the life of root, a descriptor of the data directory: a read lock of it on a byte that stands
 * for the daemon, whose workers all know run. By it the workers of a later one know that some are
 * left, which may still commit what they have begun. Where there are no such locks they do not. */
void data_dir_hold(int root, uint64_t run);

/* Does a worker of another run hold it? */
bool data_dir_is_held(int root, uint64_t run);

#endif

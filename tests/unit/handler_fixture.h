/* What the tests of handlers share: a directory of their own, a host that writes down what was
 * settled, messages, system calls that fail on demand, and the journal read back. */
#ifndef TESTS_UNIT_HANDLER_FIXTURE_H
#define TESTS_UNIT_HANDLER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/fd.h"
#include "handler/handler.h"
#include "handler/journal/data_dir.h"
#include "handler/journal/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURE_SETTLED_MAX 70000

struct settled {
    unsigned number; /* of the message, in the order in which they were made */
    enum proto_outcome outcome;
    char code[32], text[160];
    char *reply;
};

struct fixture {
    char dir[256];
    struct config config;
    struct message_store store;
    struct handler_host host;
    void *handler;
    unsigned made;
    unsigned committed_calls, committed_messages;
    unsigned settled_count;
    struct settled settled[FIXTURE_SETTLED_MAX];
    char findings[1000]; /* of fixture_expect_findings, up to now */
};

/* Removes the directory with all in it; no complaint where it is not there. */
void fixture_remove_tree(const char *path);

/* The host's: notes the verdict and destroys the message. */
void fixture_settle(void *ctx, struct message *m, const struct verdict *verdict);

/* The host's: counts calls and messages. */
void fixture_committed(void *ctx, unsigned messages);

/* A data directory that is prepared, and a host without a handler. */
struct fixture *fixture_create(void);

/* Removes the directory and frees all; the handler is the test's to destroy. */
void fixture_destroy(struct fixture *f);

/* The same around a test. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Mounts a tmpfs on an absolute path, seen by this process alone. False where that is not allowed.
 * umount2 with MNT_DETACH ends it. */
bool fixture_mount(const char *path, const char *options);

/* The path of something in the data directory; four at a time. */
const char *fixture_path(struct fixture *f, const char *name);

/* A finished message with that body, which wants a reply. */
struct message *fixture_message(struct fixture *f, enum message_kind kind, const char *value,
                                const void *body, size_t n);

/* What a file of the data directory holds, to be freed; NULL where it cannot be read. */
char *fixture_read(struct fixture *f, const char *name, size_t *n_out);

/* Makes or replaces a file of the data directory. */
void fixture_write(struct fixture *f, const char *name, const void *data, size_t n);

/* True where the data directory has that name, as a link that leads nowhere too. */
bool fixture_exists(struct fixture *f, const char *name);

/* How many names a directory has that contain `part`; the last of them in name_out. */
unsigned
fixture_count(struct fixture *f, const char *directory, const char *part, char name_out[256]);

/* All lines of the journal, segment after segment, as a JSON array. Every line must be JSON. */
json_t *fixture_journal(struct fixture *f);

/* What verify finds, in lines like "wrong files/a"; progress as in struct verify. */
void
fixture_expect_findings(struct fixture *f, const char *findings,
                        void (*progress)(void *arg, const struct verify_tally *so_far), void *arg);

/* A string of the object, "" where it has none. */
const char *fixture_member(const json_t *object, const char *key);

/* --- system calls that fail on demand --- */

struct faults {
    int write_error; /* of the next write_errors writes, half of whose bytes are written */
    unsigned write_errors;
    int data_error; /* of the next data_errors syncs of data */
    unsigned data_errors;
    int dir_error; /* of the next dir_errors syncs of directories */
    unsigned dir_errors;
    bool no_link, no_beneath;
    unsigned data_syncs, dir_syncs, writes; /* calls so far */
    unsigned skip_data;                     /* syncs of data that still succeed before data_error */
};

/* What the calls of faulty_ops are to do, and how often they were called. */
extern struct faults faults;

/* Like file_ops_synced, but as `faults` says, which starts anew. */
const struct file_ops *faulty_ops(void);

/* Makes the handler journal, and waits until its recovery, which runs beside the test, has looked
 * at all segments: from then on it touches none. */
void fixture_open_journal(struct fixture *f, const struct file_ops *ops);

#endif

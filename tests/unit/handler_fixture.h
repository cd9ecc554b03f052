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

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <poll.h>
#include <sched.h>
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
    struct handler *handler;
    unsigned made;
    unsigned committed_calls, committed_messages;
    unsigned settled_count;
    struct settled settled[FIXTURE_SETTLED_MAX];
};

static inline int
fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline void
fixture_remove_tree(const char *path)
{
    (void)nftw(path, fixture_remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static inline int
fixture_spill_open(void *arg)
{
    return data_dir_spill_open(arg);
}

static inline void
fixture_settle(void *ctx, struct message *m, const struct verdict *verdict)
{
    struct fixture *f = ctx;
    struct settled *s = &f->settled[f->settled_count++];

    assert_true(f->settled_count < FIXTURE_SETTLED_MAX);
    s->number = (unsigned)(uintptr_t)m->owner;
    s->outcome = verdict->outcome;
    snprintf(s->code, sizeof(s->code), "%s", verdict->code != NULL ? verdict->code : "");
    snprintf(s->text, sizeof(s->text), "%s", verdict->text != NULL ? verdict->text : "");
    s->reply = verdict->reply != NULL ? strndup(verdict->reply, verdict->reply_len) : NULL;
    message_destroy(m);
}

static inline void
fixture_origin(void *ctx, const struct message *m, struct message_origin *origin_out)
{
    (void)ctx;
    (void)m;
    *origin_out = (struct message_origin){
        .listener = "msp://127.0.0.1:8000", .proto = "msp", .peer = "127.0.0.1:50412"};
}

static inline void
fixture_committed(void *ctx, unsigned messages)
{
    struct fixture *f = ctx;

    f->committed_calls++;
    f->committed_messages += messages;
}

static inline struct fixture *
fixture_create(void)
{
    struct fixture *f = ms_calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR");
    char error[CONFIG_ERROR_LEN];

    snprintf(f->dir, sizeof(f->dir), "%s/msockd-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    f->config.data_dir = f->dir;
    f->config.inline_max = 1024;
    f->config.segment_size = 1 << 30;
    f->config.segment_age_us = UINT64_C(3600000000);
    f->config.sync = true;
    assert_int_equal(data_dir_prepare(&f->config, error), 0);
    f->store = (struct message_store){.digester = digester_create(),
                                      .memory_max = 4096,
                                      .memory_limit = 1 << 30,
                                      .spill_open = fixture_spill_open,
                                      .spill_arg = &f->config};
    f->host = (struct handler_host){.config = &f->config,
                                    .worker = 3,
                                    .ctx = f,
                                    .settle = fixture_settle,
                                    .origin = fixture_origin,
                                    .committed = fixture_committed,
                                    .digester = f->store.digester};
    return f;
}

static inline void
fixture_forget_settled(struct fixture *f)
{
    for (unsigned i = 0; i < f->settled_count; i++)
        free(f->settled[i].reply);
    f->settled_count = 0;
}

static inline void
fixture_destroy(struct fixture *f)
{
    fixture_forget_settled(f);
    fixture_remove_tree(f->dir);
    digester_destroy(f->store.digester);
    free(f);
}

/* Mounts a tmpfs on an absolute path, seen by this process alone. False where that is not allowed.
 * umount2 with MNT_DETACH ends it. */
static inline bool
fixture_mount(const char *path, const char *options)
{
    return unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", path, "tmpfs", 0, options) == 0;
}

/* The path of something in the data directory; four at a time. */
static inline const char *
fixture_path(struct fixture *f, const char *name)
{
    static char paths[4][4096];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", f->dir, name);
    return path;
}

static inline struct message *
fixture_message(struct fixture *f, enum message_kind kind, const char *value, const void *body,
                size_t n)
{
    struct message *m = message_create(&f->store, n, UINT64_MAX, 0);

    message_append(m, body, n);
    message_finish(m);
    m->kind = kind;
    m->wants_reply = true;
    message_set_value(m, value, strlen(value));
    m->owner = (void *)(uintptr_t)f->made++;
    return m;
}

static inline char *
fixture_read(struct fixture *f, const char *name, size_t *n_out)
{
    size_t n;
    char *data;

    if (fd_read_file(fixture_path(f, name), 1 << 30, &data, &n) < 0)
        return NULL;
    if (n_out != NULL)
        *n_out = n;
    return data;
}

static inline void
fixture_write(struct fixture *f, const char *name, const void *data, size_t n)
{
    int fd = open(fixture_path(f, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, data, n), 0);
    fd_close(&fd);
}

static inline bool
fixture_exists(struct fixture *f, const char *name)
{
    struct stat st;

    return lstat(fixture_path(f, name), &st) == 0;
}

/* How many names a directory has that contain `part`; the last of them in name_out. */
static inline unsigned
fixture_count(struct fixture *f, const char *directory, const char *part, char name_out[256])
{
    DIR *dir = opendir(fixture_path(f, directory));
    const struct dirent *entry;
    unsigned count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' || strncmp(entry->d_name, ".msockd", 7) == 0) {
            if (strstr(entry->d_name, part) == NULL)
                continue;
            count++;
            if (name_out != NULL)
                snprintf(name_out, 256, "%s", entry->d_name);
        }
    }
    closedir(dir);
    return count;
}

static inline int
fixture_no_dots(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* All lines of the journal, segment after segment, as a JSON array. Every line must be JSON. */
static inline json_t *
fixture_journal(struct fixture *f)
{
    json_t *lines = json_array();
    struct dirent **names;
    int count = scandir(fixture_path(f, "journal"), &names, fixture_no_dots, alphasort);

    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        char name[300], *data, *line, *end;

        snprintf(name, sizeof(name), "journal/%s", names[i]->d_name);
        data = fixture_read(f, name, NULL);
        assert_non_null(data);
        for (line = data; *line != '\0'; line = end + 1) {
            json_error_t error;
            json_t *value;

            end = strchr(line, '\n');
            assert_non_null(end);
            value = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, &error);
            assert_non_null(value);
            json_array_append_new(lines, value);
        }
        free(data);
        free(names[i]);
    }
    free(names);
    return lines;
}

static inline const char *
fixture_member(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

/* --- system calls that fail on demand --- */

struct faults {
    int write_error; /* of the next write_errors writes, half of whose bytes are written */
    unsigned write_errors;
    int data_error; /* of the next data_errors syncs of data */
    unsigned data_errors;
    int dir_error; /* of the next dir_errors syncs of directories */
    unsigned dir_errors;
    bool no_unnamed, no_beneath;
    unsigned data_syncs, dir_syncs, writes; /* calls so far */
    unsigned skip_data;                     /* syncs of data that still succeed before data_error */
};

static struct faults faults;

static inline int
faulty_write_all(int fd, const void *data, size_t n)
{
    faults.writes++;
    if (faults.write_errors == 0)
        return fd_write_all(fd, data, n);
    faults.write_errors--;
    assert_int_equal(fd_write_all(fd, data, n / 2), 0);
    errno = faults.write_error;
    return -1;
}

static inline int
faulty_sync_data(int fd)
{
    faults.data_syncs++;
    if (faults.skip_data > 0) {
        faults.skip_data--;
        return fdatasync(fd);
    }
    if (faults.data_errors == 0)
        return fdatasync(fd);
    faults.data_errors--;
    errno = faults.data_error;
    return -1;
}

static inline int
faulty_sync_dir(int fd)
{
    faults.dir_syncs++;
    if (faults.dir_errors == 0)
        return fsync(fd);
    faults.dir_errors--;
    errno = faults.dir_error;
    return -1;
}

static inline int
faulty_open_unnamed(int dir_fd)
{
    if (!faults.no_unnamed)
        return file_ops_synced.open_unnamed(dir_fd);
    errno = EOPNOTSUPP;
    return -1;
}

static inline int
faulty_open_beneath(int dir_fd, const char *path, int flags)
{
    if (!faults.no_beneath)
        return file_ops_synced.open_beneath(dir_fd, path, flags);
    errno = ENOSYS;
    return -1;
}

/* Like file_ops_synced, but as `faults` says. */
static inline const struct file_ops *
faulty_ops(void)
{
    static struct file_ops ops;

    faults = (struct faults){0};
    ops = file_ops_synced;
    ops.write_all = faulty_write_all;
    ops.sync_data = faulty_sync_data;
    ops.sync_dir = faulty_sync_dir;
    ops.open_unnamed = faulty_open_unnamed;
    ops.open_beneath = faulty_open_beneath;
    ops.sync_at_once = false;
    return &ops;
}

#endif

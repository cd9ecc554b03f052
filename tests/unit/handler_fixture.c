#include "handler_fixture.h"
#include "guard.h"

#include "handler/journal/journal.h"
#include "support/wait.h"

#include <dirent.h>
#include <ftw.h>
#include <sched.h>
#include <stdatomic.h>

static int
fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

void
fixture_remove_tree(const char *path)
{
    (void)nftw(path, fixture_remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static int
fixture_spill_open(void *arg)
{
    return data_dir_spill_open(arg);
}

static char *
fixture_reply(const struct verdict *verdict)
{
    const uint8_t *bytes;
    char *reply;

    if (verdict->blob == NULL)
        return verdict->reply != NULL ? strndup(verdict->reply, verdict->reply_len) : NULL;
    assert_int_equal(blob_bytes(verdict->blob, &bytes), 0);
    reply = strndup((const char *)bytes, (size_t)verdict->blob->len);
    blob_release(verdict->blob, bytes);
    return reply;
}

void
fixture_settle(void *ctx, struct message *m, const struct verdict *verdict)
{
    struct fixture *f = ctx;
    struct settled *s = &f->settled[f->settled_count++];

    assert_true(f->settled_count < FIXTURE_SETTLED_MAX);
    s->number = (unsigned)(uintptr_t)m->owner;
    s->outcome = verdict->outcome;
    snprintf(s->code, sizeof(s->code), "%s", verdict->code != NULL ? verdict->code : "");
    snprintf(s->text, sizeof(s->text), "%s", verdict->text != NULL ? verdict->text : "");
    s->reply = fixture_reply(verdict);
    message_destroy(m);
}

static void
fixture_origin(void *ctx, const struct message *m, struct message_origin *origin_out)
{
    (void)ctx;
    (void)m;
    *origin_out = (struct message_origin){
        .listener = "msp://127.0.0.1:8000", .proto = "msp", .peer = "127.0.0.1:50412"};
}

void
fixture_committed(void *ctx, unsigned messages)
{
    struct fixture *f = ctx;

    f->committed_calls++;
    f->committed_messages += messages;
}

struct fixture *
fixture_create(void)
{
    struct fixture *f = ms_calloc(1, sizeof(*f));
    char error[CONFIG_ERROR_LEN];

    guard_directory(f->dir, sizeof(f->dir));
    f->config.data_dir = f->dir;
    f->config.inline_max = 1024;
    f->config.segment_size = 1 << 30;
    f->config.segment_age_us = UINT64_C(3600000000);
    f->config.sync = true;
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0);
    f->store = (struct message_store){.digester = digester_create(),
                                      .memory_max = 4096,
                                      .ledger.max = 1 << 30,
                                      .spill_open = fixture_spill_open,
                                      .spill_arg = &f->config};
    f->host = (struct handler_host){.config = &f->config,
                                    .worker = 3,
                                    .ctx = f,
                                    .settle = fixture_settle,
                                    .origin = fixture_origin,
                                    .committed = fixture_committed,
                                    .digester = f->store.digester,
                                    .store = &f->store};
    return f;
}

static void
fixture_forget_settled(struct fixture *f)
{
    for (unsigned i = 0; i < f->settled_count; i++)
        free(f->settled[i].reply);
    f->settled_count = 0;
}

void
fixture_destroy(struct fixture *f)
{
    fixture_forget_settled(f);
    fixture_remove_tree(f->dir);
    assert_int_equal(f->store.ledger.used, 0);
    digester_destroy(f->store.digester);
    free(f);
}

int
fixture_setup(void **state)
{
    *state = fixture_create();
    return 0;
}

int
fixture_teardown(void **state)
{
    fixture_destroy(*state);
    return 0;
}

bool
fixture_mount(const char *path, const char *options)
{
    return unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", path, "tmpfs", 0, options) == 0;
}

const char *
fixture_path(struct fixture *f, const char *name)
{
    static char paths[4][4096];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", f->dir, name);
    return path;
}

struct message *
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

char *
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

void
fixture_write(struct fixture *f, const char *name, const void *data, size_t n)
{
    int fd = open(fixture_path(f, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, data, n), 0);
    fd_close(&fd);
}

bool
fixture_exists(struct fixture *f, const char *name)
{
    struct stat st;

    return lstat(fixture_path(f, name), &st) == 0;
}

unsigned
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

static int
fixture_no_dots(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

json_t *
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

const char *
fixture_member(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

/* --- system calls that fail on demand --- */

struct faults faults;

static ssize_t
faulty_write(int fd, const void *data, size_t n, off_t at)
{
    faults.writes++;
    if (faults.write_errors == 0)
        return file_ops_synced.write(fd, data, n, at);
    faults.write_errors--;
    assert_int_equal(fd_pwrite_all(fd, data, n / 2, at), 0);
    errno = faults.write_error;
    return -1;
}

static int
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

static int
faulty_sync_dir(int fd)
{
    faults.dir_syncs++;
    if (faults.dir_errors == 0)
        return fsync(fd);
    faults.dir_errors--;
    errno = faults.dir_error;
    return -1;
}

static int
faulty_link_fd(int fd, int dir_fd, const char *name)
{
    if (!faults.no_link)
        return file_ops_synced.link_fd(fd, dir_fd, name);
    errno = EPERM;
    return -1;
}

static int
faulty_open_beneath(int dir_fd, const char *path, int flags)
{
    if (!faults.no_beneath)
        return file_ops_synced.open_beneath(dir_fd, path, flags);
    return file_walk_beneath(dir_fd, path, flags);
}

const struct file_ops *
faulty_ops(void)
{
    static struct file_ops ops;

    faults = (struct faults){0};
    ops = file_ops_synced;
    ops.write = faulty_write;
    ops.sync_data = faulty_sync_data;
    ops.sync_dir = faulty_sync_dir;
    ops.link_fd = faulty_link_fd;
    ops.open_beneath = faulty_open_beneath;
    ops.sync_at_once = false;
    return &ops;
}

/* --- a journal --- */

static _Atomic bool recovery_has_looked;

/* It opens this directory when it has seen the segments. */
static int
noted_open(int dir_fd, const char *name, int flags)
{
    int fd = file_ops_synced.open(dir_fd, name, flags);

    if (strcmp(name, DAMAGED_DIR) == 0)
        atomic_store(&recovery_has_looked, true);
    return fd;
}

void
fixture_open_journal(struct fixture *f, const struct file_ops *ops)
{
    static struct file_ops noted;
    char error[HANDLER_ERROR_LEN];

    noted = *ops;
    noted.open = noted_open;
    atomic_store(&recovery_has_looked, false);
    f->handler = journal_create_with(&f->host, &noted, error);
    assert_non_null(f->handler);
    WAIT_FOR(atomic_load(&recovery_has_looked), 20000);
}

/* --- verify --- */

struct fixture_verify {
    struct fixture *f;
    void (*progress)(void *arg, const struct verify_tally *so_far);
    void *arg;
};

static void
fixture_note_finding(void *arg, const struct verify_finding *finding)
{
    struct fixture *f = ((const struct fixture_verify *)arg)->f;
    size_t n = strlen(f->findings);

    snprintf(f->findings + n, sizeof(f->findings) - n, "%s %s\n", verify_name(finding->what),
             finding->path);
}

static void
fixture_note_progress(void *arg, const struct verify_tally *so_far)
{
    const struct fixture_verify *v = arg;

    if (v->progress != NULL)
        v->progress(v->arg, so_far);
}

void
fixture_expect_findings(struct fixture *f, const char *findings,
                        void (*progress)(void *arg, const struct verify_tally *so_far), void *arg)
{
    struct fixture_verify v = {f, progress, arg};
    const struct verify verify = {.data_dir = f->config.data_dir,
                                  .found = fixture_note_finding,
                                  .progress = fixture_note_progress,
                                  .arg = &v};
    struct verify_tally tally;

    f->findings[0] = '\0';
    assert_int_equal(verify_run(&verify, &tally), 0);
    assert_string_equal(f->findings, findings);
    assert_int_equal(tally.findings == 0, findings[0] == '\0');
}

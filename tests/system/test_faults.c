/* The disk fails in all the ways it can. Whatever is refused is not in the journal, whatever is
 * acknowledged is, and the same workers go on when the disk is well again. */
#include "faults.h"
#include "load.h"
#include "msock.h"
#include "target.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIG (1u << 20) /* does not stay in memory */

static char *
big_body(void)
{
    char *body = malloc(BIG);

    assert_non_null(body);
    memset(body, 'b', BIG);
    return body;
}

/* Sends on p, which is connected anew where an ERR has ended it. */
static enum answer_kind
send_kind(const struct daemon *d, struct peer *p, char kind, const char *name, const void *body,
          size_t n, struct answer *a)
{
    struct outgoing m = {
        .kind = kind, .value = name, .value_len = strlen(name), .body = body, .len = n};
    enum answer_kind got;

    if (p->fd < 0)
        peer_connect(p, &d->listeners[0]);
    got = peer_send(p, &m, a);
    if (got != ANSWER_ACK && got != ANSWER_REJ)
        peer_close(p);
    return got;
}

static void
expect_refusal(enum answer_kind got, const struct answer *a, bool no_space, const char *what)
{
    if (no_space && got == ANSWER_REJ && strcmp(a->code, "no-space") == 0)
        return;
    if (!no_space && got == ANSWER_ERR && strcmp(a->code, "internal") == 0)
        return;
    fail_msg("%s: \"%s\"", what, a->text);
}

struct fault_row {
    const char *rules;
    char kind;
    bool big, no_space;
};

static const struct fault_row fault_rows[] = {
    {"write ENOSPC /journal/ 1\n", 'A', false, true},
    {"write EDQUOT /journal/ 1\n", 'A', false, true},
    {"write EIO /journal/ 1\n", 'A', false, false},
    {"sync EIO /journal/ 1\n", 'A', false, false},
    {"sync ENOSPC /journal/ 1\n", 'A', false, true},
    {"write ENOSPC /journal/ 1\n", 'F', false, false}, /* the file has its name: not refused */
    {"sync EIO /journal/ 1\n", 'F', false, false},
    {"sync EIO /data/ 1\n", 'F', false, false},
    {"sync ENOSPC /data/ 1\n", 'F', true, true},
    {"write ENOSPC /data/ 1\n", 'F', true, true},
    {"write EIO /data/ 1\n", 'F', true, false},
    {"write ENOSPC /data/ 1\n", 'A', true, true},
    {"sync EIO /data/ 1\n", 'A', true, false},
    {"rename EIO - 1\n", 'F', false, false},
    {"rename ENOSPC - 1\n", 'F', true, true},
};

#define FAULT_ROWS (MS_ARRAY_LEN(fault_rows))

/* A good message, one that the fault refuses, and when the disk is well the same one again. */
static void
run_fault_row(const struct daemon *d, struct peer *p, size_t index, const char *body)
{
    const struct fault_row *row = &fault_rows[index];
    uint64_t struck = faults_struck(d);
    size_t n = row->big ? BIG : 100;
    char good[32], bad[32], path[HARNESS_PATH_LEN + 48];
    enum answer_kind got;
    struct answer a;

    snprintf(good, sizeof(good), "good-%zu", index);
    snprintf(bad, sizeof(bad), "bad-%zu", index);
    snprintf(path, sizeof(path), "%s/files/%s", d->data_dir, bad);
    assert_int_equal(send_kind(d, p, row->kind, good, body, n, &a), ANSWER_ACK);
    faults_set(d, row->rules);
    got = send_kind(d, p, row->kind, bad, body, n, &a);
    faults_set(d, "");
    if (faults_struck(d) == struck)
        fail_msg("row %zu: nothing struck, and the answer was \"%s\"", index, a.text);
    expect_refusal(got, &a, row->no_space, row->rules);
    if (got == ANSWER_REJ && access(path, F_OK) == 0) /* 1.2: nothing of it is kept */
        fail_msg("row %zu: the file that was refused is there", index);
    if (send_kind(d, p, row->kind, bad, body, n, &a) != ANSWER_ACK)
        fail_msg("row %zu, well again: \"%s\"", index, a.text);
}

static void
check_fault_rows(const struct daemon *d)
{
    struct journal j;
    char name[32];

    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, 2 * FAULT_ROWS); /* each once, so what was refused is not there */
    for (size_t i = 0; i < FAULT_ROWS; i++) {
        size_t found = 0;

        snprintf(name, sizeof(name), "bad-%zu", i);
        for (size_t k = 0; k < j.count; k++)
            found += strcmp(j.entries[k].key, name) == 0 ||
                     (strncmp(j.entries[k].file, "files/", 6) == 0 &&
                      strcmp(j.entries[k].file + 6, name) == 0);
        assert_int_equal(found, 1);
    }
    journal_free(&j);
}

static void
a_failed_write_or_sync_is_refused_and_forgotten(void **state)
{
    struct daemon *d;
    struct proc_list before, after;
    struct peer p = {.fd = -1};
    char *body;

    (void)state;
    faults_need();
    body = big_body();
    d = daemon_start(
        &(struct daemon_options){.workers = 1, .faults = true, .errors_expected = true});
    daemon_workers(d, &before);
    for (size_t i = 0; i < FAULT_ROWS; i++)
        run_fault_row(d, &p, i, body);
    daemon_workers(d, &after);
    assert_true(proc_list_equal(&before, &after));
    daemon_stop(d);
    check_fault_rows(d);
    free(body);
}

static void
short_writes_are_completed(void **state)
{
    struct daemon *d;
    struct peer p = {.fd = -1};
    struct answer a;
    char *body;
    char name[32];

    (void)state;
    faults_need();
    body = big_body();
    d = daemon_start(&(struct daemon_options){.workers = 1, .faults = true});
    faults_set(d, "write short /data/ 2\n");
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "short-%u", i);
        assert_int_equal(
            send_kind(d, &p, i % 3 == 0 ? 'F' : 'A', name, body, i % 4 == 0 ? BIG : 3000 + i, &a),
            ANSWER_ACK);
    }
    assert_true(faults_struck(d) >= 20);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 40);
    free(body);
}

static void
faults_under_load_lose_nothing_and_keep_nothing_refused(void **state)
{
    static const char *const rules[] = {"sync EIO /journal/ 3\n",     "",
                                        "write ENOSPC /journal/ 2\n", "",
                                        "write EIO /journal/ 5\n",    "write short /journal/ 2\n",
                                        "sync ENOSPC /journal/ 3\n",  ""};
    struct daemon *d;
    struct load *l;
    uint64_t struck;

    (void)state;
    faults_need();
    d = daemon_start(
        &(struct daemon_options){.workers = 2, .faults = true, .errors_expected = true});
    l = load_start(&d->listeners[0], "f", 5, 4000);
    for (unsigned i = 0; i < 32; i++) {
        load_advance(l, 20, 20000);
        struck = faults_struck(d);
        faults_set(d, rules[i % 8]);
        if (rules[i % 8][0] != '\0')
            WAIT_FOR(faults_struck(d) > struck, 10000);
    }
    faults_set(d, "");
    load_advance(l, 50, 20000);
    load_stop(l);
    assert_int_equal(l->broken, 0);
    assert_true(l->rejected > 0 && l->errors > 0);
    daemon_stop(d);
    load_check_stored(l, d->data_dir);
}

static void
fill_disk(const char *dir, char path[HARNESS_PATH_LEN])
{
    static char block[65536];
    size_t n = sizeof(block);
    int fd;

    harness_join(path, dir, "filler");
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (n > 0)
        if (write(fd, block, n) <= 0)
            n /= 2;
    close(fd);
}

/* Sends until the disk is full; returns how many were acknowledged. */
static unsigned
send_until_refused(const struct daemon *d, struct peer *p, unsigned first)
{
    static char body[1500];
    struct answer a;
    char id[32];
    unsigned i = first;

    memset(body, 'd', sizeof(body));
    for (;; i++) {
        snprintf(id, sizeof(id), "disk-%u", i);
        if (send_kind(d, p, 'A', id, body, sizeof(body), &a) != ANSWER_ACK)
            break;
        if (i > first + 10000)
            fail_msg("the disk is full and nothing is refused");
    }
    if (a.kind != ANSWER_REJ || strcmp(a.code, "no-space") != 0)
        fail_msg("disk full: \"%s\"", a.text);
    return i - first;
}

static void
a_full_disk_is_no_space_and_recovers_when_there_is_room(void **state)
{
    char disk[HARNESS_PATH_LEN], filler[HARNESS_PATH_LEN];
    struct daemon *d;
    struct proc_list before, after;
    struct peer p = {.fd = -1};
    struct answer a;
    char *body;
    unsigned acked = 0, files = 0;

    (void)state;
    harness_small_disk(6144, disk);
    body = big_body();
    d = daemon_start(
        &(struct daemon_options){.workers = 1, .data_dir = disk, .errors_expected = true});
    daemon_workers(d, &before);
    for (unsigned round = 0; round < 4; round++) {
        char name[32];

        fill_disk(disk, filler);
        acked += send_until_refused(d, &p, acked);
        snprintf(name, sizeof(name), "full-%u", round);
        assert_int_equal(send_kind(d, &p, 'F', name, body, BIG, &a), ANSWER_REJ);
        assert_string_equal(a.code, "no-space");
        assert_int_equal(send_kind(d, &p, 'A', name, body, BIG, &a), ANSWER_REJ);
        assert_string_equal(a.code, "no-space");
        assert_int_equal(unlink(filler), 0);
        snprintf(name, sizeof(name), "room-%u", round);
        if (send_kind(d, &p, 'F', name, body, 100000, &a) != ANSWER_ACK)
            fail_msg("there is room again: \"%s\"", a.text);
        files++;
    }
    daemon_workers(d, &after);
    assert_true(proc_list_equal(&before, &after));
    daemon_stop(d);
    assert_int_equal(journal_count(disk), acked + files);
    free(body);
}

static void
a_disk_that_fills_and_empties_under_load_loses_nothing(void **state)
{
    char disk[HARNESS_PATH_LEN], filler[HARNESS_PATH_LEN];
    struct daemon *d;
    struct load *l;

    (void)state;
    harness_small_disk(65536, disk);
    d = daemon_start(
        &(struct daemon_options){.workers = 2, .data_dir = disk, .errors_expected = true});
    l = load_start(&d->listeners[0], "d", 4, 3000);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t rejected = l->rejected;

        load_advance(l, 20, 20000);
        fill_disk(disk, filler);
        WAIT_FOR((fill_disk(disk, filler), l->rejected > rejected), 20000);
        assert_int_equal(unlink(filler), 0);
    }
    load_advance(l, 20, 20000);
    load_stop(l);
    assert_int_equal(l->broken, 0);
    daemon_stop(d);
    load_check_stored(l, disk);
}

/* Sends the same id until it is acknowledged; refusals on the way must be honest ones. */
static bool
acknowledged(const struct daemon *d, struct peer *p, const char *id)
{
    struct answer a;
    enum answer_kind got = send_kind(d, p, 'A', id, "x", 1, &a);

    if (got != ANSWER_ACK && strcmp(a.code, "internal") != 0 && strcmp(a.code, "no-space") != 0)
        fail_msg("without a journal directory: \"%s\"", a.text);
    return got == ANSWER_ACK;
}

static void
remove_segments(const char *dir)
{
    char path[HARNESS_PATH_LEN];
    struct dirent *entry;
    DIR *stream = opendir(dir);

    assert_non_null(stream);
    while ((entry = readdir(stream)) != NULL) {
        harness_join(path, dir, entry->d_name);
        if (entry->d_type == DT_REG)
            assert_int_equal(unlink(path), 0);
    }
    closedir(stream);
}

enum loss { LOSS_REMOVED, LOSS_MOVED, LOSS_SEGMENTS };

static void
lose_journal(const struct daemon *d, const char *dir, enum loss loss)
{
    char aside[HARNESS_PATH_LEN];

    harness_join(aside, d->data_dir, "aside");
    switch (loss) {
    case LOSS_REMOVED:
        harness_remove_tree(dir);
        break;
    case LOSS_MOVED:
        assert_int_equal(rename(dir, aside), 0);
        break;
    case LOSS_SEGMENTS:
        remove_segments(dir);
        break;
    }
}

/* Whatever is acknowledged must be where a reader looks for it, and in the end all is well. */
static void
expect_recovery_from(enum loss loss)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .errors_expected = true});
    char dir[HARNESS_PATH_LEN];
    struct proc_list before, after;
    struct peer p = {.fd = -1};
    struct journal j;
    bool without;

    daemon_workers(d, &before);
    assert_true(acknowledged(d, &p, "before"));
    harness_join(dir, d->data_dir, "journal");
    lose_journal(d, dir, loss);
    without = acknowledged(d, &p, "without");
    if (access(dir, F_OK) < 0)
        assert_int_equal(mkdir(dir, 0750), 0);
    WAIT_FOR(acknowledged(d, &p, "again"), 10000);
    daemon_workers(d, &after);
    assert_true(proc_list_equal(&before, &after));
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_true(journal_find_key(&j, "again", NULL) >= 1);
    if (without && journal_find_key(&j, "without", NULL) == 0)
        fail_msg("a message was acknowledged into a file that nobody can find");
    journal_free(&j);
}

static void
a_journal_directory_that_is_gone_is_no_acknowledgement(void **state)
{
    (void)state;
    expect_recovery_from(LOSS_REMOVED);
}

static void
a_journal_directory_that_was_moved_is_no_acknowledgement(void **state)
{
    (void)state;
    expect_recovery_from(LOSS_MOVED);
}

static void
a_segment_that_was_removed_is_no_acknowledgement(void **state)
{
    (void)state;
    expect_recovery_from(LOSS_SEGMENTS);
}

static void
a_read_only_journal_directory_recovers_without_a_restart(void **state)
{
    struct daemon *d;
    char dir[HARNESS_PATH_LEN];
    struct proc_list before, after;
    struct peer p = {.fd = -1};
    struct run_result result;
    struct journal j;
    struct stat st;

    (void)state;
    harness_need_root();
    d = daemon_start(
        &(struct daemon_options){.workers = 1, .set = {"user=nobody"}, .errors_expected = true});
    harness_join(dir, d->data_dir, "journal");
    assert_int_equal(stat(dir, &st), 0);
    assert_int_not_equal(st.st_uid, 0);
    daemon_workers(d, &before);
    assert_true(acknowledged(d, &p, "before"));
    assert_int_equal(chmod(dir, 0550), 0);
    result = daemon_control(d, "reopen", NULL); /* its next segment cannot be made */
    run_result_free(&result);
    assert_false(acknowledged(d, &p, "read-only"));
    assert_int_equal(chmod(dir, 0750), 0);
    WAIT_FOR(acknowledged(d, &p, "again"), 10000);
    daemon_workers(d, &after);
    assert_true(proc_list_equal(&before, &after));
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(journal_find_key(&j, "read-only", NULL), 0);
    assert_int_equal(journal_find_key(&j, "again", NULL), 1);
    journal_free(&j);
}

/* As under `ulimit -f`: the signal that comes with it ends nobody. */
static void
a_limit_of_file_sizes_is_no_space(void **state)
{
    struct rlimit limit = {.rlim_cur = BIG / 2, .rlim_max = BIG / 2};
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .errors_expected = true});
    struct proc_list before, after;
    struct peer p = {.fd = -1};
    char *body = big_body();
    struct answer a;

    (void)state;
    daemon_workers(d, &before);
    assert_int_equal(prlimit(before.pid[0], RLIMIT_FSIZE, &limit, NULL), 0);
    expect_refusal(send_kind(d, &p, 'F', "large", body, BIG, &a), &a, true, "a large file");
    expect_refusal(send_kind(d, &p, 'A', "blob", body, BIG, &a), &a, true, "a large message");
    assert_true(send_until_refused(d, &p, 0) > 100); /* the segment is full */
    assert_int_equal(send_kind(d, &p, 'A', "next", body, 100, &a), ANSWER_ACK);
    daemon_workers(d, &after);
    assert_true(proc_list_equal(&before, &after));
    free(body);
    daemon_stop(d);
}

static void
a_data_directory_that_was_unmounted_gets_nothing_more(void **state)
{
    char disk[HARNESS_PATH_LEN], marker[HARNESS_PATH_LEN];
    struct peer p = {.fd = -1};
    struct run_result result;
    struct daemon *d;

    (void)state;
    harness_small_disk(6144, disk);
    d = daemon_start(
        &(struct daemon_options){.workers = 1, .data_dir = disk, .errors_expected = true});
    assert_true(acknowledged(d, &p, "before"));
    assert_int_equal(umount2(disk, MNT_DETACH), 0);
    assert_false(acknowledged(d, &p, "lost"));
    assert_true(daemon_logged(d, "was unmounted, moved or replaced"));
    result = daemon_control(d, "reload", NULL); /* nor does a reload take what lies beneath */
    assert_int_not_equal(result.status, 0);
    assert_non_null(strstr(result.err, "is its file system mounted?"));
    run_result_free(&result);
    harness_join(marker, disk, "msockd.id");
    assert_int_not_equal(access(marker, F_OK), 0);
    daemon_stop(d);
}

static void
a_sealed_message_that_finds_no_room_is_not_refused_for_good(void **state)
{
    char disk[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN], filler[HARNESS_PATH_LEN];
    char url[2 * HARNESS_PATH_LEN];
    char *body = big_body(), *fill = calloc(11, BIG / 2);
    struct daemon *d;
    msock *m;

    (void)state;
    harness_small_disk(6144, disk);
    harness_key(key);
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?key_file=%s", key);
    d = daemon_start(
        &(struct daemon_options){.listen = {url}, .data_dir = disk, .errors_expected = true});
    harness_join(filler, disk, "filler");
    harness_write_file(filler, fill, 11 * BIG / 2);
    free(fill);
    snprintf(url, sizeof(url), "msp://127.0.0.1:%u?key_file=%s", target_port(&d->listeners[0]),
             key);
    m = msock_open(url);
    assert_non_null(m);
    assert_int_equal(msock_send(m, body, BIG), MSOCK_REFUSED);
    assert_non_null(strstr(msock_error(m), "no-space"));
    assert_int_equal(unlink(filler), 0);
    assert_int_equal(msock_send(m, body, 500000), MSOCK_OK);
    msock_close(m);
    free(body);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_failed_write_or_sync_is_refused_and_forgotten),
        SYSTEM_TEST(short_writes_are_completed),
        SYSTEM_TEST(faults_under_load_lose_nothing_and_keep_nothing_refused),
        SYSTEM_TEST(a_limit_of_file_sizes_is_no_space),
        SYSTEM_TEST(a_data_directory_that_was_unmounted_gets_nothing_more),
        SYSTEM_TEST(a_sealed_message_that_finds_no_room_is_not_refused_for_good),
        SYSTEM_TEST(a_full_disk_is_no_space_and_recovers_when_there_is_room),
        SYSTEM_TEST(a_disk_that_fills_and_empties_under_load_loses_nothing),
        SYSTEM_TEST(a_journal_directory_that_is_gone_is_no_acknowledgement),
        SYSTEM_TEST(a_journal_directory_that_was_moved_is_no_acknowledgement),
        SYSTEM_TEST(a_segment_that_was_removed_is_no_acknowledgement),
        SYSTEM_TEST(a_read_only_journal_directory_recovers_without_a_restart),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* File systems that cannot do all that a journal asks of them: what is missing is named at the
 * start, done in another way, or refused where a promise would break. */
#include "faults.h"
#include "journal.h"
#include "msock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BIG    (1u << 20) /* does not stay in memory */
#define RACERS 8
#define RACES  20

static struct daemon *
create_with(const char *rules, const char *set)
{
    struct daemon_options options = {.workers = 4, .faults = true, .set = {set}, .more = {"-v"}};
    struct daemon *d;

    faults_need();
    d = daemon_create(&options);
    faults_set(d, rules);
    return d;
}

static msock *
open_client(const struct daemon *d)
{
    msock *m = msock_open(d->listeners[0].url);

    assert_non_null(m);
    msock_set_timeouts(m, 60000, 60000);
    return m;
}

/* Sends n bytes of a letter as a file. Returns what msock_send_file does. */
static int
send_file(const struct daemon *d, msock *m, const char *path, char letter, size_t n)
{
    char source[HARNESS_PATH_LEN], name[32];
    char *body = malloc(n);

    assert_non_null(body);
    memset(body, letter, n);
    snprintf(name, sizeof(name), "source-%c", letter);
    harness_join(source, d->dir, name);
    harness_write_file(source, body, n);
    free(body);
    return msock_send_file(m, source, path);
}

/* A line, a blob, a file and a large file, all acknowledged and whole. */
static void
take_all_kinds(struct daemon *d)
{
    static char body[70000];
    msock *m = open_client(d);

    memset(body, 'c', sizeof(body));
    assert_int_equal(msock_send(m, body, 200), MSOCK_OK);
    assert_int_equal(msock_send(m, body, sizeof(body)), MSOCK_OK);
    assert_int_equal(send_file(d, m, "some/where/small", 'd', 5000), MSOCK_OK);
    assert_int_equal(send_file(d, m, "some/where/large", 'e', BIG), MSOCK_OK);
    assert_int_equal(send_file(d, m, "some/where/small", 'f', 5000), MSOCK_REFUSED);
    assert_string_equal(msock_error_code(m), "exists");
    msock_close(m);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 4);
}

static void
expect_refusal_at_start(struct daemon *d, const char *sentence)
{
    struct run_result result = daemon_fail(d);

    assert_int_equal(result.status, 73);
    if (strstr(result.err, sentence) == NULL)
        fail_msg("not \"%s\", but \"%s\"", sentence, result.err);
    run_result_free(&result);
}

static void
what_cannot_be_synced_is_refused_and_sync_no_starts_it(void **state)
{
    static const struct {
        const char *rules, *sentence;
    } rows[] = {
        {"syncdir EINVAL /data 1\n", "/data cannot be made safe (fsync of the directory: Invalid"},
        {"syncdir EOPNOTSUPP /data/files 1\n", "/data/files cannot be made safe (fsync of the"},
        {"sync EINVAL /data 1\n", "/data cannot be made safe (fdatasync of a file: Invalid"},
        {"sync EIO /data/blobs 1\n", "/data/blobs cannot be made safe (fdatasync of a file: Input"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct daemon *d = create_with(rows[i].rules, NULL);

        expect_refusal_at_start(d, rows[i].sentence);
        expect_refusal_at_start(d, "or sync = no, with which an ACK means written and not safe");
        d = create_with(rows[i].rules, "sync=no");
        daemon_launch(d);
        take_all_kinds(d);
    }
}

static void
without_locks_it_does_not_start(void **state)
{
    (void)state;
    expect_refusal_at_start(create_with("lock ENOLCK /data 1\n", NULL),
                            "its file system has no locks (No locks available)");
}

#define ONE_LISTENER "listen = {\"msp://127.0.0.1:0\"}\n"

static void
a_reload_that_asks_for_more_tries_it(void **state)
{
    struct run_result result;
    struct daemon *d;

    (void)state;
    faults_need();
    d = daemon_create(&(struct daemon_options){
        .config = ONE_LISTENER "sync = no\n", .faults = true, .errors_expected = true});
    faults_set(d, "syncdir EINVAL /data 1\n");
    daemon_launch(d);
    daemon_configure(d, ONE_LISTENER);
    result = daemon_control(d, "reload", NULL);
    assert_int_not_equal(result.status, 0);
    assert_non_null(strstr(result.err, "/data cannot be made safe (fsync of the directory: Inv"));
    run_result_free(&result);
    faults_set(d, "");
    daemon_reload(d);
    take_all_kinds(d);
}

static void
the_runtime_directory_needs_locks_and_modes(void **state)
{
    static const char *const rules[] = {"lock ENOLCK /run/lock 1\n", "mode EPERM /run/lock 1\n",
                                        "mode EPERM /run/control 1\n"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rules); i++) {
        struct run_result result = daemon_fail(create_with(rules[i], NULL));

        if (strstr(result.err, "choose another runtime directory with -r") == NULL)
            fail_msg("%s: \"%s\"", rules[i], result.err);
        run_result_free(&result);
    }
}

/* One path, many contents at the same time. */
struct racer {
    const struct daemon *d;
    char letter;
    unsigned taken[RACES];
    pthread_t thread;
};

static void *
race(void *arg)
{
    struct racer *r = arg;
    char source[HARNESS_PATH_LEN], name[32], path[32];
    msock *m = msock_open(r->d->listeners[0].url);

    if (m != NULL)
        msock_set_timeouts(m, 60000, 60000);
    snprintf(name, sizeof(name), "source-%c", r->letter);
    harness_join(source, r->d->dir, name);
    for (unsigned i = 0; m != NULL && i < RACES; i++) {
        snprintf(path, sizeof(path), "race-%u", i);
        r->taken[i] = msock_send_file(m, source, path) == MSOCK_OK;
    }
    msock_close(m);
    return NULL;
}

static void
race_for_names(const struct daemon *d)
{
    struct racer racers[RACERS];
    char source[HARNESS_PATH_LEN], name[32];

    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.d = d, .letter = (char)('a' + i)};
        snprintf(name, sizeof(name), "source-%c", racers[i].letter);
        harness_join(source, d->dir, name);
        harness_write_file(source, &racers[i].letter, 1);
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < RACERS; i++)
        assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
    for (unsigned n = 0; n < RACES; n++) {
        unsigned taken = 0;

        for (unsigned i = 0; i < RACERS; i++)
            taken += racers[i].taken[n];
        if (taken != 1)
            fail_msg("race-%u was taken from %u senders", n, taken);
    }
}

static void
a_name_is_given_once_whatever_the_file_system_lacks(void **state)
{
    static const struct {
        const char *rules, *said;
    } rows[] = {
        {"noreplace EINVAL - 1\n", "has no rename that replaces nothing"},
        {"noreplace EINVAL - 1\nlink EPERM - 1\nrename delay-20 race- 1\n",
         "can neither rename without replacing nor link"},
        {"noreplace EINVAL - 1\nlink EOPNOTSUPP - 1\n", "gives no name to a file that had none"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct daemon *d = create_with(rows[i].rules, NULL);
        struct journal j;

        daemon_launch(d);
        if (!daemon_logged(d, rows[i].said))
            fail_msg("the log does not say \"%s\"", rows[i].said);
        race_for_names(d);
        daemon_stop(d);
        journal_load(d->data_dir, false, &j);
        journal_check(&j); /* each file has the content of its record */
        journal_free(&j);
        d = create_with(rows[i].rules, NULL);
        daemon_launch(d);
        take_all_kinds(d);
    }
}

static void
modes_and_reserved_room_may_be_missing(void **state)
{
    struct daemon *d;

    (void)state;
    d = create_with("mode EPERM /data 1\nfallocate EOPNOTSUPP - 1\n", NULL);
    daemon_launch(d);
    assert_true(daemon_logged(d, "keeps no modes"));
    take_all_kinds(d);
    daemon_launch(d); /* it looks at the segments again */
    daemon_stop(d);
    assert_false(daemon_logged(d, "cannot be recovered"));
}

static void
a_full_disk_is_no_reason_not_to_start(void **state)
{
    char disk[HARNESS_PATH_LEN], data[HARNESS_PATH_LEN], fill[HARNESS_PATH_LEN];
    struct daemon *d;
    FILE *f;

    (void)state;
    harness_small_disk(8192, disk);
    harness_join(data, disk, "data");
    harness_join(fill, disk, "fill");
    d = daemon_start(&(struct daemon_options){.data_dir = data, .errors_expected = true});
    daemon_stop(d);
    f = fopen(fill, "w");
    assert_non_null(f);
    while (fputc('x', f) != EOF)
        ;
    (void)fclose(f);
    daemon_launch(d);
    assert_true(daemon_logged(d, "there is no room to try"));
    assert_int_equal(unlink(fill), 0);
    take_all_kinds(d);
}

/* Mounts it on at; what it needs is in dir. False where this kernel has no such file system. */
static bool
mount_kind(const char *name, const char *make, const char *dir, const char *at)
{
    char image[HARNESS_PATH_LEN], line[3 * HARNESS_PATH_LEN], options[4 * HARNESS_PATH_LEN];

    if (make == NULL) {
        snprintf(line, sizeof(line), "cd '%s' && mkdir -p low up work", dir);
        snprintf(options, sizeof(options), "lowerdir=%s/low,upperdir=%s/up,workdir=%s/work", dir,
                 dir, dir);
        return system(line) == 0 &&
               harness_mount(name, strcmp(name, "overlay") == 0 ? options : "size=32m", at);
    }
    harness_join(image, dir, "image");
    unlink(image);
    snprintf(line, sizeof(line), "truncate -s 64M '%s' && %s '%s' >/dev/null 2>&1", image, make,
             image);
    return system(line) == 0 && harness_mount_image(image, "", at);
}

static void
other_file_systems_take_all_kinds(void **state)
{
    static const struct {
        const char *name, *make;
    } kinds[] = {
        {"tmpfs", NULL},
        {"overlay", NULL},
        {"vfat", "mkfs.vfat"},
        {"exfat", "mkfs.exfat"},
    };
    char dir[HARNESS_PATH_LEN], at[HARNESS_PATH_LEN], data[HARNESS_PATH_LEN];

    (void)state;
    harness_need_root();
    for (size_t i = 0; i < MS_ARRAY_LEN(kinds); i++) {
        harness_directory(dir);
        harness_directory(at);
        if (!mount_kind(kinds[i].name, kinds[i].make, dir, at)) {
            print_message("%s: not here\n", kinds[i].name);
            continue;
        }
        harness_join(data, at, "data");
        take_all_kinds(daemon_start(&(struct daemon_options){.data_dir = data, .more = {"-v"}}));
        harness_unmount(at);
        print_message("%s: tried\n", kinds[i].name);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(what_cannot_be_synced_is_refused_and_sync_no_starts_it),
        SYSTEM_TEST(without_locks_it_does_not_start),
        SYSTEM_TEST(a_reload_that_asks_for_more_tries_it),
        SYSTEM_TEST(the_runtime_directory_needs_locks_and_modes),
        SYSTEM_TEST(a_name_is_given_once_whatever_the_file_system_lacks),
        SYSTEM_TEST(modes_and_reserved_room_may_be_missing),
        SYSTEM_TEST(other_file_systems_take_all_kinds),
        SYSTEM_TEST(a_full_disk_is_no_reason_not_to_start),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

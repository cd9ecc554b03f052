/* msockctl verify: a sound data directory is called sound, beside the daemon and without it, and
 * each kind of damage is named. */
#include "daemon.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define SEND                                                               \
    "$M -u $U send first; seq 9 >a; $M -u $U send-file --as dir/a.txt a; " \
    "seq 2000 | $M -u $U send -; $M -u $U send last"

static void
shell(const struct daemon *d, const char *url, const char *commands)
{
    char line[4 * HARNESS_PATH_LEN];
    struct run_result result;

    snprintf(line, sizeof(line), "set -e; cd %s; M=%s U=$1; %s", d->dir, harness_program("msock"),
             commands);
    result = run_program("/bin/sh", "-c", line, "sh", url, NULL);
    if (result.status != 0)
        fail_msg("%s: status %d: %s", commands, result.status, result.err);
    run_result_free(&result);
}

/* A daemon with two messages in lines, a file and a blob. */
static struct daemon *
start(void)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .set = {"inline_max=4K"}});

    shell(d, d->listeners[0].url, SEND);
    return d;
}

static struct run_result
verify(const char *dir, const char *since)
{
    if (since != NULL)
        return run_program(harness_program("msockctl"), "verify", "--since", since, dir, NULL);
    return run_program(harness_program("msockctl"), "verify", dir, NULL);
}

static void
expect_sound(const char *dir, const char *since)
{
    struct run_result result = verify(dir, since);

    if (result.status != EX_OK || strstr(result.out, "all is sound") == NULL)
        fail_msg("status %d: %s%s", result.status, result.out, result.err);
    run_result_free(&result);
}

static void
expect_finding(const char *dir, const char *since, const char *text)
{
    struct run_result result = verify(dir, since);

    if (result.status != EX_DATAERR || strstr(result.out, text) == NULL ||
        strstr(result.out, "1 finding\n") == NULL)
        fail_msg("not only \"%s\": status %d: %s%s", text, result.status, result.out, result.err);
    run_result_free(&result);
}

static void
expect_number(const json_t *document, const char *name, json_int_t want)
{
    if (json_integer_value(json_object_get(document, name)) != want)
        fail_msg("%s is %lld", name, json_integer_value(json_object_get(document, name)));
}

static void
a_sound_directory_is_sound_beside_the_daemon_and_without_it(void **state)
{
    struct daemon *d = start();
    struct run_result result;
    json_t *document;

    (void)state;
    expect_sound(d->data_dir, NULL);
    daemon_stop(d);
    expect_sound(d->data_dir, NULL);
    result = run_program(harness_program("msockctl"), "verify", "--json", d->data_dir, NULL);
    assert_int_equal(result.status, EX_OK);
    document = json_loads(result.out, 0, NULL);
    assert_true(json_is_true(json_object_get(document, "sound")));
    expect_number(document, "records", 4);
    expect_number(document, "files", 1);
    expect_number(document, "blobs", 1);
    expect_number(document, "being_written", 0);
    assert_int_equal(json_array_size(json_object_get(document, "findings")), 0);
    json_decref(document);
    run_result_free(&result);
}

#define PUT(at) "printf '~' | dd bs=1 conv=notrunc status=none seek=" at " of="
#define FIRST   "$(ls journal/*.ndjson | head -n 1)"

static void
each_kind_of_damage_is_named(void **state)
{
    static const struct {
        const char *damage, *finding;
    } rows[] = {
        {PUT("2") "files/dir/a.txt", "files/dir/a.txt: not what any record"},
        {"echo >>files/dir/a.txt", "files/dir/a.txt: not what any record"},
        {"rm files/dir/a.txt", "files/dir/a.txt: missing; record"},
        {"rm files/dir/a.txt; mkdir files/dir/a.txt", "files/dir/a.txt: not what any record"},
        {PUT("99") "$(echo blobs/*)", ": not what any record"},
        {"rm blobs/*", ": missing; record"},
        {"echo >files/stray", "files/stray: no record names it"},
        {"echo >blobs/stray", "blobs/stray: no record names it"},
        {"echo >\"$(printf 'files/a\\nb')\"", "files/a\\x0Ab: no record names it"},
        {"mkfifo journal/01ARYZ6S410000000000000000-w0.ndjson", "-w0.ndjson: not a regular file"},
        {"echo >blobs/.msockd-01ARYZ6S410000000000000000", ": left behind by a crash"},
        {"chmod 640 journal/*; " PUT("40") FIRST, ": damaged, "},
        {"chmod 640 journal/*; truncate -s -5 " FIRST, ": torn, "},
    };
    struct daemon *d = start();
    char copy[HARNESS_PATH_LEN], commands[600];

    (void)state;
    daemon_stop(d);
    harness_join(copy, d->dir, "copy");
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        snprintf(commands, sizeof(commands), "rm -rf copy; cp -a data copy; cd copy; %s",
                 rows[i].damage);
        shell(d, "", commands);
        expect_finding(copy, NULL, rows[i].finding);
    }
}

/* The damaged line is one finding for good, and nothing else is. */
static void
what_recovery_has_replaced_is_named(void **state)
{
    struct daemon *d = start();

    (void)state;
    daemon_stop(d);
    shell(d, "", "cd data; chmod 640 journal/*; " PUT("40") FIRST);
    daemon_launch(d);
    daemon_stop(d);
    expect_finding(d->data_dir, NULL, "were damaged; recovery has kept them in journal/damaged/");
}

static void
since_leaves_out_the_bodies_of_older_records(void **state)
{
    static const char *const young[] = {"1h", "2026", "2026-02-28", "2026-02-28T23:59",
                                        "1969-12-31T23:59:59"};
    static const char *const wrong[] = {"2026-02-29", "2026-13", "2026-11-28T24",
                                        "2026-1",     "soon",    "2026-11-28 15:00"};
    struct daemon *d = start();

    (void)state;
    daemon_stop(d);
    shell(d, "", "rm data/files/dir/a.txt; echo >data/files/stray");
    for (size_t i = 0; i < MS_ARRAY_LEN(young); i++)
        expect_finding(d->data_dir, young[i], "files/dir/a.txt: missing; record");
    expect_sound(d->data_dir, "2999-12-31");
    for (size_t i = 0; i < MS_ARRAY_LEN(wrong); i++) {
        struct run_result result = verify(d->data_dir, wrong[i]);

        if (result.status != EX_USAGE)
            fail_msg("%s: status %d: %s", wrong[i], result.status, result.out);
        run_result_free(&result);
    }
}

/* Six senders replace three files again and again, and verify runs as long as they do. */
#define STORM                                                                              \
    "(for s in 1 2 3 4 5 6; do (mkdir s$s; cd s$s; for i in $(seq 25); do echo $s.$i >f; " \
    "$M -u $U send-file --as same/$((i % 3)) f >/dev/null; done) & done; wait; >ended) & " \
    "until [ -e ended ]; do $C verify data >out || { cat out >&2; exit 1; }; done"

static void
files_that_are_replaced_are_sound_beside_the_workers_and_afterwards(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 4, .set = {"on_conflict=replace"}});
    char commands[600];

    (void)state;
    snprintf(commands, sizeof(commands), "C=%s; %s", harness_program("msockctl"), STORM);
    shell(d, d->listeners[0].url, commands);
    daemon_stop(d);
    expect_sound(d->data_dir, NULL);
    shell(d, "", "echo other >data/files/same/1");
    expect_finding(d->data_dir, NULL, "files/same/1: not what any record says it is");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_sound_directory_is_sound_beside_the_daemon_and_without_it),
        SYSTEM_TEST(each_kind_of_damage_is_named),
        SYSTEM_TEST(what_recovery_has_replaced_is_named),
        SYSTEM_TEST(files_that_are_replaced_are_sound_beside_the_workers_and_afterwards),
        SYSTEM_TEST(since_leaves_out_the_bodies_of_older_records),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

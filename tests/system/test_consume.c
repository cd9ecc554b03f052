/* Consumers of the journal's files: what msockctl segments calls finished may be taken, whatever
 * happens to the workers meanwhile, and nothing that was acknowledged is lost. */
#include "load.h"

#include "support/signals.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define ROUNDS 6

/* The example of msockd(8), until somebody makes the file "ended". */
#define CONSUMER                                                                    \
    "until [ -e ended ]; do \"$C\" segments --finished data | while read -r f; do " \
    "mv \"$f\" taken/ && gzip \"taken/${f##*/}\"; done; done"

static struct run_result
run_shell(const struct daemon *d, const char *commands)
{
    char line[4 * HARNESS_PATH_LEN];

    snprintf(line, sizeof(line), "set -e; cd %s; C=%s; %s", d->dir, harness_program("msockctl"),
             commands);
    return run_program("/bin/sh", "-c", line, NULL);
}

static void
shell(const struct daemon *d, const char *commands)
{
    struct run_result result = run_shell(d, commands);

    if (result.status != 0)
        fail_msg("%s: status %d: %s%s", commands, result.status, result.out, result.err);
    run_result_free(&result);
}

static void
consumer_start(const struct daemon *d, struct running *r)
{
    char line[2 * HARNESS_PATH_LEN];
    const char *const argv[] = {"/bin/sh", "-c", line, NULL};

    snprintf(line, sizeof(line), "C=%s; " CONSUMER, harness_program("msockctl"));
    run_start(r, argv, &(struct run_options){.cwd = d->dir});
}

static void
disturb(struct daemon *d, unsigned round)
{
    struct proc_list workers;
    struct run_result result;

    switch (round % 3) {
    case 0:
        WAIT_FOR((daemon_workers(d, &workers), workers.count >= 2), 30000);
        signal_send(workers.pid[0], SIGKILL);
        break;
    case 1:
        daemon_reload(d);
        break;
    default:
        result = daemon_control(d, "reopen", NULL);
        assert_int_equal(result.status, EX_OK);
        run_result_free(&result);
    }
}

static void
nothing_acknowledged_is_lost_to_a_consumer_that_takes_finished_segments(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 3,
                                 .set = {LOAD_PATIENCE, "segment_size=4K", "segment_age=1s"},
                                 .errors_expected = true});
    struct load *l;
    struct running consumer;
    struct run_result result;
    struct journal j;

    (void)state;
    shell(d, "mkdir taken");
    consumer_start(d, &consumer);
    l = load_start(&d->listeners[0], "c", 4, 3000);
    for (unsigned i = 0; i < ROUNDS; i++) {
        load_advance(l, 200, 60000);
        disturb(d, i);
    }
    load_advance(l, 200, 60000);
    load_stop(l);
    daemon_stop(d);
    shell(d, ": >ended");
    run_finish(&consumer, 60000, &result);
    assert_int_equal(result.status, 0);
    assert_string_equal(result.err, "");
    run_result_free(&result);
    shell(d, "test $(ls taken | wc -l) -gt 20; gunzip taken/*; mv taken/* data/journal/");
    journal_load(d->data_dir, false, &j);
    if (l->rejected + l->broken != 0)
        fail_msg("%s", l->complaint);
    assert_in_range(load_check_journal(l, &j), 0, l->repeated);
    journal_free(&j);
}

/* A consumer that does what it should not: it compresses and removes whatever is there. */
static void
nothing_acknowledged_is_lost_to_one_that_takes_open_segments_either(void **state)
{
    static const char greedy[] =
        "n=0; until [ -e ended ]; do for f in data/journal/*.ndjson; do n=$((n+1)); "
        "mv \"$f\" taken/$n.ndjson 2>/dev/null && gzip -f taken/$n.ndjson; done; sleep 0.2; done; "
        "exit 0";
    const char *const argv[] = {"/bin/sh", "-c", greedy, NULL};
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 2, .set = {LOAD_PATIENCE}, .errors_expected = true});
    struct running consumer;
    struct run_result result;
    struct load *l;
    struct journal j;

    (void)state;
    shell(d, "mkdir taken");
    run_start(&consumer, argv, &(struct run_options){.cwd = d->dir});
    l = load_start(&d->listeners[0], "g", 4, 3000);
    load_advance(l, 1000, 60000);
    WAIT_FOR(daemon_logged(d, "was moved away or removed while it was written"), 60000);
    load_stop(l);
    shell(d, ": >ended");
    run_finish(&consumer, 60000, &result);
    run_result_free(&result);
    daemon_stop(d);
    /* gzip may have copied half a record, which is in the next segment then. */
    shell(d, "for f in taken/*.gz; do n=${f##*/}; gunzip -c $f | while IFS= read -r line; do "
             "printf '%s\\n' \"$line\"; done >data/journal/${n%.gz}; done");
    journal_load(d->data_dir, true, &j);
    load_check_acked(l, &j);
    journal_free(&j);
}

/* The state of the one segment there is. */
static void
expect_state(const struct daemon *d, const char *want)
{
    struct run_result result = run_shell(d, "exec \"$C\" segments --json data");
    json_t *document = json_loads(result.out, 0, NULL);
    const json_t *rows = json_object_get(document, "segments"), *row = json_array_get(rows, 0);
    const char *state = json_string_value(json_object_get(row, "state"));

    assert_int_equal(result.status, EX_OK);
    if (json_array_size(rows) != 1 || strcmp(state, want) != 0)
        fail_msg("not one that is %s: %s", want, result.out);
    json_decref(document);
    run_result_free(&result);
}

static void
expect_finished(const struct daemon *d, unsigned count)
{
    char commands[200];

    snprintf(commands, sizeof(commands),
             "\"$C\" segments --finished data >out; test $(wc -l <out) = %u; "
             "while read -r f; do test -f \"$f\"; done <out",
             count);
    shell(d, commands);
}

static void
send_one(struct daemon *d)
{
    struct peer p;
    struct answer a;

    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "text", 4, &a), ANSWER_ACK);
    peer_close(&p);
}

static void
a_segment_is_finished_when_nobody_will_write_or_mend_it(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct run_result result;

    (void)state;
    send_one(d);
    expect_state(d, "writing");
    expect_finished(d, 0);
    result = daemon_control(d, "reopen", NULL);
    assert_int_equal(result.status, EX_OK);
    run_result_free(&result);
    expect_state(d, "finished");
    daemon_stop(d);
    expect_state(d, "finished");
    shell(
        d,
        "cd data/journal; mkdir done sub.ndjson; gzip -k *Z*.ndjson 2>/dev/null || gzip -k *-w*; "
        ": >stray.ndjson; ln -s /dev/null 01ARYZ6S410000000000000000-w7.ndjson; "
        "mkfifo 01ARYZ6S410000000000000000-w8.ndjson; mkdir 01ARYZ6S410000000000000000-w9.ndjson");
    expect_state(d, "finished");
    expect_finished(d, 1);
    shell(d, "cd data/journal; rm -r done *.gz stray* 01ARYZ*; chmod 640 *-w*");
    expect_state(d, "finished"); /* as after a crash: it is whole */
    shell(d, "cd data/journal; printf half >>$(echo *-w*)");
    expect_state(d, "torn");
    expect_finished(d, 0);
    daemon_launch(d);
    WAIT_FOR(daemon_logged(d, "bytes cut off behind its last whole line"), 30000);
    daemon_stop(d);
    expect_state(d, "finished");
    shell(d, "rm -rf data/journal/*; : >data/journal/01ARYZ6S410000000000000000-w0.ndjson");
    expect_state(d, "torn");
}

static void
without_sync_a_segment_is_finished_too(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .set = {"sync=no"}});

    (void)state;
    send_one(d);
    expect_state(d, "writing");
    daemon_stop(d);
    expect_state(d, "finished");
}

static void
what_cannot_be_listed_is_said(void **state)
{
    static const struct {
        const char *commands;
        int status;
    } cases[] = {
        {"\"$C\" segments nowhere", EX_NOINPUT},
        {"\"$C\" segments --no-such data", EX_USAGE},
        {"\"$C\" -r nowhere segments", EX_UNAVAILABLE},
        {"\"$C\" segments data >/dev/full", EX_IOERR},
    };
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct run_result result = run_shell(d, cases[i].commands);

        if (result.status != cases[i].status)
            fail_msg("%s: status %d: %s", cases[i].commands, result.status, result.err);
        assert_string_not_equal(result.err, "");
        run_result_free(&result);
    }
    daemon_stop(d);
}

static void
no_reader_that_splits_lines_the_unicode_way_cuts_a_record(void **state)
{
    static const char body[] = "a\v\f\x1c\x1d\x1e\xc2\x85\xe2\x80\xa8\xe2\x80\xa9z";
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct run_result result;
    struct peer p;
    struct answer a;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, body, body, sizeof(body) - 1, &a), ANSWER_ACK);
    peer_close(&p);
    daemon_stop(d);
    result = run_shell(d, "python3 -c '' 2>/dev/null || exit 99");
    if (result.status == 99)
        skip();
    run_result_free(&result);
    shell(d, "python3 -c 'import sys; t = open(sys.argv[1], encoding=\"utf-8\").read(); "
             "sys.exit(len(t.splitlines()) != 1)' data/journal/*.ndjson");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(nothing_acknowledged_is_lost_to_a_consumer_that_takes_finished_segments),
        SYSTEM_TEST(nothing_acknowledged_is_lost_to_one_that_takes_open_segments_either),
        SYSTEM_TEST(a_segment_is_finished_when_nobody_will_write_or_mend_it),
        SYSTEM_TEST(without_sync_a_segment_is_finished_too),
        SYSTEM_TEST(what_cannot_be_listed_is_said),
        SYSTEM_TEST(no_reader_that_splits_lines_the_unicode_way_cuts_a_record),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

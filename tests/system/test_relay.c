/* The relay: what is in the journal is in the stream, whatever is killed, full or away meanwhile.
 * RELAY_KILLS makes the test of kills longer. */
#include "faults.h"
#include "nats_case.h"
#include "stats.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define KILLS 8

/* --- the scene --- */

#define RELAY_URL_SIZE 256

/* "relay=..." for -o. Static, two at a time. */
static const char *
relay_option(const struct nats *n, const char *options)
{
    static char texts[2][RELAY_URL_SIZE];
    static unsigned turn;
    char *text = texts[turn++ % 2];

    snprintf(text, RELAY_URL_SIZE, "relay=nats://127.0.0.1:%u?stream=S&subject=in.{kind}%s%s",
             n->port, options[0] != '\0' ? "&" : "", options);
    return text;
}

/* One worker, so that the order of the records is that of the messages. */
static struct daemon *
relay_daemon(const struct nats *n, const char *options, const char *set)
{
    struct daemon_options o = {.workers = 1,
                               .set = {LOAD_PATIENCE, relay_option(n, options), set},
                               .errors_expected = true};

    return daemon_start(&o);
}

static void
send_kind(const struct daemon *d, char kind, const char *value, const void *body, size_t n)
{
    const struct outgoing m = {.kind = kind,
                               .flags = WIRE_REPLY,
                               .value = value,
                               .value_len = strlen(value),
                               .body = body,
                               .len = n};
    struct answer a;

    free(nats_send_one(d, &m, &a));
    if (a.kind != ANSWER_ACK)
        fail_msg("%s", a.text);
}

static void
send_text(const struct daemon *d, const char *text)
{
    send_kind(d, 'A', "", text, strlen(text));
}

/* --- what it tells --- */

/* The newest one; NULL for the moment in which one that died is replaced. */
static json_t *
relay_row(const struct daemon *d)
{
    struct run_result result = daemon_control(d, "relay", "--json", NULL);
    json_t *rows = json_loads(result.out, 0, NULL);
    json_t *row = json_array_get(rows, json_array_size(rows) - 1);

    json_incref(row);
    json_decref(rows);
    run_result_free(&result);
    return row;
}

/* Of the relay with that pid. */
static json_int_t
relay_number_of(const struct daemon *d, json_int_t pid, const char *name)
{
    struct run_result result = daemon_control(d, "relay", "--json", NULL);
    json_t *rows = json_loads(result.out, 0, NULL), *row;
    json_int_t n = -1;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (json_integer_value(json_object_get(row, "pid")) == pid)
            n = json_integer_value(json_object_get(row, name));
    }
    json_decref(rows);
    run_result_free(&result);
    return n;
}

static json_int_t
relay_number(const struct daemon *d, const char *name)
{
    json_t *row = relay_row(d);
    json_int_t n = json_integer_value(json_object_get(row, name));

    json_decref(row);
    return n;
}

static double
relay_age(const struct daemon *d)
{
    json_t *row = relay_row(d);
    double age = json_real_value(json_object_get(row, "age"));

    json_decref(row);
    return age;
}

static bool
relay_error_has(const struct daemon *d, const char *text)
{
    json_t *row = relay_row(d);
    const char *error = json_string_value(json_object_get(row, "error"));
    bool has = error != NULL && strstr(error, text) != NULL;

    json_decref(row);
    return has;
}

/* Has all that was in the journal up to that record been relayed? */
static bool
relay_is_at(const struct daemon *d, const char *id)
{
    json_t *row = relay_row(d);
    const char *position = json_string_value(json_object_get(row, "position"));
    bool is = position != NULL && strcmp(position, id) >= 0 &&
              json_integer_value(json_object_get(row, "lag_records")) == 0 &&
              json_is_false(json_object_get(row, "lag_is_more"));

    json_decref(row);
    return is;
}

/* --- journal and stream --- */

static int
entry_compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return strcmp(x->id, y->id);
}

static void
entry_expect(const struct entry *e, const struct entry *wanted)
{
    assert_string_equal(e->id, wanted->id);
    assert_string_equal(e->time, wanted->time);
    assert_string_equal(e->kind, wanted->kind);
    assert_string_equal(e->listener, wanted->listener);
    assert_string_equal(e->proto, wanted->proto);
    assert_string_equal(e->peer, wanted->peer);
    assert_int_equal(e->size, wanted->size);
    assert_int_equal(e->body_len, wanted->body_len);
    assert_memory_equal(e->body, wanted->body, e->body_len);
    assert_true(e->sound);
}

/* The stream has each record once, with its body, and nothing else. Both stay sorted by id. */
static void
expect_same(const struct journal *stream, const struct journal *j)
{
    qsort(j->entries, j->count, sizeof(j->entries[0]), entry_compare);
    qsort(stream->entries, stream->count, sizeof(stream->entries[0]), entry_compare);
    for (size_t i = 0; i < j->count && i < stream->count; i++)
        entry_expect(&stream->entries[i], &j->entries[i]);
    assert_int_equal(stream->count, j->count);
}

/* Waits until all is relayed that is in the journal now, and compares. */
static void
check_stream(const struct daemon *d, const struct nats *n)
{
    struct journal j, stream;
    size_t orphans;

    journal_load(d->data_dir, true, &j);
    assert_int_equal(j.bad_lines, 0);
    assert_true(j.count > 0);
    qsort(j.entries, j.count, sizeof(j.entries[0]), entry_compare);
    WAIT_FOR(relay_is_at(d, j.entries[j.count - 1].id), 60000);
    nats_read_stream(n, "S", &stream, &orphans);
    expect_same(&stream, &j);
    assert_int_equal(orphans, 0);
    journal_free(&j);
    journal_free(&stream);
}

static size_t
stream_count(const struct nats *n, const char *name)
{
    struct journal stream;
    size_t count;

    nats_read_stream(n, name, &stream, NULL);
    count = stream.count;
    journal_free(&stream);
    return count;
}

/* --- what is relayed --- */

static size_t
count_path(const struct journal *j, const char *path)
{
    size_t n = 0;

    for (size_t i = 0; i < j->count; i++)
        n += strcmp(j->entries[i].file, path) == 0;
    return n;
}

static void
all_kinds_of_records_are_relayed_with_their_bodies(void **state)
{
    static char large[200000];
    struct nats n = {0};
    struct journal stream;
    struct nats_client c;
    struct nats_message m;
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, "max_payload: 4096");
    d = relay_daemon(&n, "stream_create=yes", "inline_max=10K");
    for (size_t i = 0; i < sizeof(large); i++)
        large[i] = (char)(i * 7 + i / 255);
    send_kind(d, 'A', "n\xc3\xa4me", "text \" \\ \n \x01 \xc2\x85 \xe2\x80\xa8 end", 23);
    send_kind(d, 'A', "\xff\x01", "\x00\xff\x80 bytes", 9);
    send_kind(d, 'A', "", "", 0);
    send_kind(d, 'J', "", "{\"a\" :\n [1, \"\\u00e9\\n\"]}", 24);
    send_kind(d, 'A', "", large, 9000);
    send_kind(d, 'A', "", large, sizeof(large));
    send_kind(d, 'F', "a/b c.bin", large, sizeof(large));
    send_kind(d, 'F', "a/small", "x", 1);
    check_stream(d, &n);
    nats_read_stream(&n, "S", &stream, NULL);
    assert_int_equal(journal_find_key(&stream, "n%C3%A4me", NULL), 1);
    assert_int_equal(journal_find_key(&stream, "%FF%01", NULL), 1);
    assert_int_equal(count_path(&stream, "a/b c.bin") + count_path(&stream, "a/small"), 2);
    journal_free(&stream);
    assert_true(nats_open(&c, &n));
    assert_true(nats_get(&c, "S", 1, &m));
    assert_string_equal(m.subject, "in.plain");
    assert_string_equal(nats_header(&m, "Nats-Msg-Id"), nats_header(&m, "Msock-Id"));
    nats_message_free(&m);
    nats_close(&c);
    daemon_stop(d);
}

/* --- what is killed, or away --- */

static void
kill_relay(const struct daemon *d)
{
    json_int_t pid = relay_number(d, "pid");

    if (pid <= 0)
        return; /* it waits to be replaced */
    signal_send((pid_t)pid, SIGKILL);
    WAIT_FOR(relay_number(d, "pid") != pid, 30000);
}

static unsigned
kills_wanted(void)
{
    const char *text = getenv("RELAY_KILLS");

    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : KILLS;
}

static void
the_stream_equals_the_journal_after_kills(void **state)
{
    unsigned kills = kills_wanted();
    struct nats n = {0};
    struct journal j;
    struct daemon *d;
    struct load *l;

    (void)state;
    nats_need();
    nats_start(&n, "max_payload: 4096");
    d = daemon_start(&(struct daemon_options){
        .workers = 2,
        .set = {LOAD_PATIENCE, relay_option(&n, "stream_create=yes&nats_timeout=1s"),
                "segment_size=64K"},
        .errors_expected = true});
    l = load_start(&d->listeners[0], "k", 6, 8000);
    for (unsigned i = 0; i < kills; i++) {
        load_advance(l, 20 + (unsigned)rand() % 200, 60000);
        if (i % 10 == 3)
            nats_kill(&n);
        kill_relay(d);
        if (i % 10 == 5)
            daemon_reload(d); /* also: a relay that may not wait long to be replaced */
        if (i % 10 == 6)
            nats_launch(&n);
    }
    load_advance(l, 200, 60000);
    load_stop(l);
    if (!n.running)
        nats_launch(&n);
    check_stream(d, &n);
    journal_load(d->data_dir, true, &j);
    assert_true(j.segments > kills);
    assert_int_equal(load_check_journal(l, &j), 0);
    journal_free(&j);
    daemon_stop(d);
}

/* Killed after it has published, and before its position is on disk. */
static void
what_was_published_before_the_position_is_saved_is_there_once(void **state)
{
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_need();
    faults_need();
    nats_start(&n, NULL);
    d = daemon_start(&(struct daemon_options){
        .set = {relay_option(&n, "stream_create=yes")}, .faults = true, .errors_expected = true});
    send_text(d, "0");
    check_stream(d, &n);
    faults_set(d, "rename EIO relay.position 1");
    for (unsigned i = 0; i < 20; i++)
        send_text(d, "hello");
    check_stream(d, &n);
    WAIT_FOR(daemon_logged(d, "the position cannot be saved"), 10000);
    for (unsigned i = 0; i < 3; i++) {
        kill_relay(d);
        check_stream(d, &n);
    }
    assert_true(stats_total(d, "relayed") > 21);
    faults_set(d, "");
    send_text(d, "1");
    check_stream(d, &n);
    daemon_stop(d);
}

static void
a_cluster_that_is_away_holds_nobody_up(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct load *l;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    nats_kill(&n);
    d = relay_daemon(&n, "stream_create=yes&nats_timeout=200ms", "segment_size=64K");
    assert_true(daemon_logged(d, "the journal keeps what comes"));
    l = load_start(&d->listeners[0], "a", 8, 1000);
    load_advance(l, 3000, 60000);
    load_stop(l);
    assert_int_equal(l->repeated + l->rejected + l->errors, 0);
    WAIT_FOR(relay_error_has(d, "no NATS server"), 10000);
    WAIT_FOR((uint64_t)relay_number(d, "lag_records") == l->acked, 10000);
    nats_launch(&n);
    check_stream(d, &n);
    daemon_stop(d);
}

/* --- what does not go on --- */

static void
a_full_stream_is_waited_for(void **state)
{
    static const char few[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"max_msgs\":3,"
                              "\"discard\":\"new\",\"duplicate_window\":60000000000}";
    static const char many[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"max_msgs\":-1,"
                               "\"discard\":\"new\",\"duplicate_window\":60000000000}";
    struct nats n = {0};
    struct journal stream;
    struct daemon *d;
    char text[16];

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S", few);
    d = relay_daemon(&n, "", NULL);
    for (unsigned i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "%u", i);
        send_text(d, text);
    }
    WAIT_FOR(relay_error_has(d, "maximum messages exceeded"), 20000);
    WAIT_FOR(relay_number(d, "lag_records") == 7, 10000);
    nats_request_made(&n, "$JS.API.STREAM.UPDATE.S", many);
    check_stream(d, &n);
    assert_true(daemon_logged(d, "records are relayed again"));
    nats_read_stream(&n, "S", &stream, NULL);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(atoi(stream.entries[i].body), i);
    journal_free(&stream);
    daemon_stop(d);
}

/* Nothing behind it is relayed, and nothing of it is passed over. */
static void
a_record_that_the_stream_refuses_stops_the_relay(void **state)
{
    static const char small[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"max_msg_size\":700}";
    static const char large[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"max_msg_size\":-1}";
    char body[2000];
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S", small);
    d = relay_daemon(&n, "", NULL);
    memset(body, 'x', sizeof(body));
    send_text(d, "before");
    send_kind(d, 'A', "", body, sizeof(body));
    send_text(d, "behind");
    WAIT_FOR(relay_error_has(d, "larger than NATS takes"), 20000);
    WAIT_FOR(relay_number(d, "lag_records") == 2, 10000);
    kill_relay(d);
    WAIT_FOR(relay_error_has(d, "larger than NATS takes"), 20000);
    assert_int_equal(stream_count(&n, "S"), 1);
    nats_request_made(&n, "$JS.API.STREAM.UPDATE.S", large);
    check_stream(d, &n);
    daemon_stop(d);
}

static void
a_stream_that_goes_away_is_missed_and_found_again(void **state)
{
    static const char stream[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"]}";
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S", stream);
    d = relay_daemon(&n, "nats_timeout=200ms", NULL);
    send_text(d, "one");
    check_stream(d, &n);
    for (unsigned i = 1; i < 3; i++) {
        nats_request_made(&n, "$JS.API.STREAM.DELETE.S", "");
        if (i == 1)
            kill_relay(d);
        send_text(d, "two");
        WAIT_FOR(relay_error_has(d, "there is no stream S"), 20000);
        WAIT_FOR(relay_number(d, "lag_records") == 1, 10000);
        nats_request_made(&n, "$JS.API.STREAM.CREATE.S", stream);
        WAIT_FOR(stream_count(&n, "S") == 1, 20000);
    }
    assert_true(daemon_has_workers(d, 2));
    daemon_stop(d);
}

/* Senders choose names, and none of them can stop the relay. */
static void
a_name_that_is_too_long_for_a_subject_gives_way_to_the_records_id(void **state)
{
    char option[RELAY_URL_SIZE], path[400], subject[64];
    struct nats n = {0};
    struct nats_client c;
    struct nats_message m;
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    snprintf(option, sizeof(option),
             "relay=nats://127.0.0.1:%u?stream=S&subject=in.{id}&stream_create=yes", n.port);
    d = daemon_start(&(struct daemon_options){.workers = 1, .set = {option}});
    for (size_t i = 0; i < sizeof(path) - 1; i++)
        path[i] = i % 100 == 99 ? '/' : '%';
    path[sizeof(path) - 1] = '\0';
    send_kind(d, 'F', path, "x", 1);
    check_stream(d, &n);
    assert_true(nats_open(&c, &n));
    assert_true(nats_get(&c, "S", 1, &m));
    snprintf(subject, sizeof(subject), "in.%s", nats_header(&m, "Msock-Id"));
    assert_string_equal(m.subject, subject);
    nats_message_free(&m);
    nats_close(&c);
    daemon_stop(d);
}

static void
a_relay_that_waits_for_another_one_says_so_beside_it(void **state)
{
    struct nats n = {0};
    json_int_t first;
    struct daemon *d;
    json_t *row;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    d = relay_daemon(&n, "stream_create=yes", NULL);
    send_text(d, "one");
    check_stream(d, &n);
    first = relay_number(d, "pid");
    signal_send((pid_t)first, SIGSTOP);
    daemon_reload(d);
    send_text(d, "two");
    WAIT_FOR(relay_error_has(d, "another process does that"), 20000);
    row = relay_row(d);
    assert_true(json_is_true(json_object_get(row, "lag_is_more")));
    json_decref(row);
    assert_int_equal(relay_number_of(d, first, "relayed"), 1);
    assert_int_equal(relay_number_of(d, relay_number(d, "pid"), "relayed"), 0);
    signal_send((pid_t)first, SIGCONT);
    check_stream(d, &n);
    daemon_stop(d);
}

static void
a_journal_that_cannot_be_read_does_not_fill_the_log(void **state)
{
    char moved[HARNESS_PATH_LEN + 8];
    struct nats n = {0};
    const char *first;
    struct daemon *d;
    double age;
    char *log;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    d = relay_daemon(&n, "stream_create=yes", NULL);
    send_text(d, "one");
    check_stream(d, &n);
    snprintf(moved, sizeof(moved), "%s-moved", d->data_dir);
    assert_int_equal(rename(d->data_dir, moved), 0);
    WAIT_FOR(relay_error_has(d, "the journal cannot be read"), 10000);
    age = relay_age(d);
    WAIT_FOR(relay_age(d) > age + 1, 10000); /* many turns of the loop */
    log = daemon_log(d);
    first = strstr(log, "the journal cannot be read");
    assert_non_null(first);
    assert_null(strstr(first + 1, "the journal cannot be read"));
    free(log);
    assert_int_equal(rename(moved, d->data_dir), 0);
    send_text(d, "two");
    check_stream(d, &n);
    daemon_stop(d);
}

static void
a_body_that_is_gone_is_passed_over_and_counted(void **state)
{
    char path[HARNESS_PATH_LEN];
    struct nats n = {0};
    struct journal stream;
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    nats_kill(&n);
    d = relay_daemon(&n, "stream_create=yes&nats_timeout=200ms", NULL);
    send_kind(d, 'F', "gone", "one", 3);
    send_kind(d, 'F', "other", "two", 3);
    send_text(d, "three");
    harness_join(path, d->data_dir, "files/gone");
    assert_int_equal(unlink(path), 0);
    harness_join(path, d->data_dir, "files/other");
    assert_int_equal(unlink(path), 0);
    harness_write_file(path, "TWO", 3);
    nats_launch(&n);
    WAIT_FOR(stats_total(d, "relayed") == 1, 30000);
    assert_int_equal(stats_total(d, "missing"), 2);
    assert_true(daemon_logged(d, "is passed over: its body cannot be had: No such file"));
    nats_read_stream(&n, "S", &stream, NULL);
    assert_int_equal(stream.count, 1);
    assert_string_equal(stream.entries[0].body, "three");
    journal_free(&stream);
    daemon_stop(d);
}

/* --- configuration --- */

#define PLAIN "workers = 1\nlisten = {\"msp://127.0.0.1:0\"}\n"

static void
configure(struct daemon *d, const char *relay)
{
    char text[1024];

    snprintf(text, sizeof(text), PLAIN "drain_timeout = \"2s\"\n%s\n", relay);
    daemon_configure(d, text);
}

static void
a_reload_changes_the_stream_and_ends_the_relay(void **state)
{
    char relay[2][RELAY_URL_SIZE];
    struct run_result result;
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    for (unsigned i = 0; i < 2; i++)
        snprintf(relay[i], sizeof(relay[i]),
                 "relay = \"nats://127.0.0.1:%u?stream=%c&subject=%c.{kind}&stream_create=yes\"",
                 n.port, 'S' + (int)i, 'S' + (int)i);
    d = daemon_create(&(struct daemon_options){.config = PLAIN, .errors_expected = true});
    daemon_launch(d);
    assert_true(daemon_has_workers(d, 1));
    result = daemon_control(d, "relay", NULL);
    assert_string_equal(result.out, "there is no relay: the option relay is not set\n");
    run_result_free(&result);
    send_text(d, "one");
    configure(d, relay[0]);
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 2), 10000);
    check_stream(d, &n);
    configure(d, relay[1]);
    daemon_reload(d);
    send_text(d, "two");
    WAIT_FOR(stream_count(&n, "T") == 1, 10000);
    configure(d, "");
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 1), 10000);
    send_text(d, "three");
    configure(d, relay[0]);
    daemon_reload(d);
    WAIT_FOR(stream_count(&n, "S") == 2, 10000);
    assert_int_equal(stream_count(&n, "T"), 1);
    daemon_stop(d);
}

static void
expect_end(struct run_result result, int status, const char *text)
{
    if (result.status != status || strstr(result.err, text) == NULL)
        fail_msg("status %d: %s", result.status, result.err);
    run_result_free(&result);
}

static void
a_stream_that_will_not_do_is_refused(void **state)
{
    struct daemon_options o = {.set = {NULL}, .errors_expected = true};
    char test[RELAY_URL_SIZE];
    struct nats n = {0};
    struct run_result result;
    struct running r;
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    o.set[0] = relay_option(&n, "");
    expect_end(daemon_fail(daemon_create(&o)), EX_SOFTWARE,
               "relay: there is no stream S; stream_create=yes makes it");
    snprintf(test, sizeof(test), "%s", relay_option(&n, ""));
    run_start(&r, (const char *[]){harness_program("msockd"), "-t", "-o", test, NULL}, NULL);
    run_finish(&r, 20000, &result);
    expect_end(result, EX_CONFIG, "relay: there is no stream S");
    d = daemon_create(&(struct daemon_options){.config = PLAIN, .errors_expected = true});
    daemon_launch(d);
    test[5] = '\0';
    snprintf(test + 5, sizeof(test) - 5, " = \"%.200s\"", relay_option(&n, "") + 6);
    configure(d, test);
    expect_end(daemon_control(d, "reload", NULL), EX_CONFIG, "there is no stream S");
    WAIT_FOR(daemon_has_workers(d, 1), 10000); /* those of the reload leave a moment later */
    send_text(d, "still here");
    daemon_stop(d);
}

static void
a_relay_without_a_journal_is_warned_of(void **state)
{
    static const char warning[] = "no listener has handler=journal, so nothing new is relayed";
    struct nats n = {0};
    struct run_result result;
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    result = run_program(harness_program("msockd"), "-t", "-H", "echo", "-o",
                         relay_option(&n, "stream_create=yes"), NULL);
    expect_end(result, EX_OK, warning);
    d = daemon_start(&(struct daemon_options){.workers = 1,
                                              .listen = {"msp://127.0.0.1:0?handler=echo"},
                                              .set = {relay_option(&n, "stream_create=yes")}});
    assert_true(daemon_logged(d, warning));
    daemon_stop(d);
    d = relay_daemon(&n, "", NULL);
    assert_false(daemon_logged(d, warning));
    daemon_stop(d);
}

static void
a_window_that_is_too_small_is_warned_of(void **state)
{
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S",
                      "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"duplicate_window\":20000000000}");
    d = relay_daemon(&n, "", NULL);
    WAIT_FOR(daemon_logged(d, "stream S remembers ids for 20 s, and a restart at the worst moment "
                              "takes 35.1 s"),
             10000);
    daemon_stop(d);
}

/* --- what is removed --- */

static bool
is_there(const struct daemon *d, const char *name)
{
    char path[HARNESS_PATH_LEN];

    harness_join(path, d->data_dir, name);
    return access(path, F_OK) == 0;
}

static size_t
segments(const struct daemon *d)
{
    struct journal j;
    size_t count;

    journal_load(d->data_dir, true, &j);
    count = j.segments;
    journal_free(&j);
    return count;
}

static void
what_was_relayed_is_removed_in_time_and_nothing_else(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    char body[5000];
    size_t before;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    nats_kill(&n);
    d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .set = {relay_option(&n, "stream_create=yes&nats_timeout=200ms"), "retain=relayed",
                "retain_min=1s", "dedup_window=0", "segment_size=4K", "segment_age=1s"}});
    memset(body, 'x', sizeof(body));
    send_kind(d, 'F', "file", "one", 3);
    for (unsigned i = 0; i < 5; i++)
        send_kind(d, 'A', "", body, sizeof(body));
    WAIT_FOR(relay_number(d, "lag_records") == 6, 10000);
    before = segments(d);
    assert_true(before > 3);
    WAIT_FOR(relay_age(d) > 4, 10000); /* there were turns of removal after retain_min */
    assert_int_equal(segments(d), before);
    assert_true(is_there(d, "files/file"));
    nats_launch(&n);
    WAIT_FOR(!is_there(d, "files/file"), 60000);
    WAIT_FOR(segments(d) <= 1, 60000);
    assert_int_equal(stream_count(&n, "S"), 6);
    daemon_stop(d);
}

/* --- msockctl --- */

static void
msockctl_shows_the_relay(void **state)
{
    struct run_result result;
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    d = relay_daemon(&n, "stream_create=yes", NULL);
    send_text(d, "one");
    check_stream(d, &n);
    assert_int_equal(relay_number(d, "relayed"), 1);
    result = daemon_control(d, "relay", NULL);
    assert_int_equal(result.status, 0);
    assert_true(strncmp(result.out, "STREAM  STATE ", 14) == 0);
    run_result_free(&result);
    result = daemon_control(d, "workers", NULL);
    assert_non_null(strstr(result.out, "\nrelay        -"));
    run_result_free(&result);
    result = daemon_control(d, "stats", "--prometheus", NULL);
    assert_non_null(strstr(result.out, "\nmsockd_relayed_total 1\n"));
    assert_non_null(strstr(result.out, "\nmsockd_relay_lag_records 0\n"));
    assert_non_null(strstr(result.out, "worker=\"relay\""));
    run_result_free(&result);
    result = daemon_control(d, "reopen", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(all_kinds_of_records_are_relayed_with_their_bodies),
        SYSTEM_TEST(the_stream_equals_the_journal_after_kills),
        SYSTEM_TEST(what_was_published_before_the_position_is_saved_is_there_once),
        SYSTEM_TEST(a_cluster_that_is_away_holds_nobody_up),
        SYSTEM_TEST(a_full_stream_is_waited_for),
        SYSTEM_TEST(a_record_that_the_stream_refuses_stops_the_relay),
        SYSTEM_TEST(a_stream_that_goes_away_is_missed_and_found_again),
        SYSTEM_TEST(a_name_that_is_too_long_for_a_subject_gives_way_to_the_records_id),
        SYSTEM_TEST(a_relay_that_waits_for_another_one_says_so_beside_it),
        SYSTEM_TEST(a_journal_that_cannot_be_read_does_not_fill_the_log),
        SYSTEM_TEST(a_body_that_is_gone_is_passed_over_and_counted),
        SYSTEM_TEST(a_reload_changes_the_stream_and_ends_the_relay),
        SYSTEM_TEST(a_stream_that_will_not_do_is_refused),
        SYSTEM_TEST(a_relay_without_a_journal_is_warned_of),
        SYSTEM_TEST(a_window_that_is_too_small_is_warned_of),
        SYSTEM_TEST(what_was_relayed_is_removed_in_time_and_nothing_else),
        SYSTEM_TEST(msockctl_shows_the_relay),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* The relay: what is in the journal is in the stream, whatever is killed or away meanwhile.
 * RELAY_KILLS makes the test of kills longer. */
#include "faults.h"
#include "relay_case.h"
#include "stats.h"

#include <stdlib.h>
#include <string.h>

#define KILLS 8

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
    nats_start(&n, "max_payload: 4096");
    d = relay_daemon(&n, "stream_create=yes", "inline_max=10K");
    for (size_t i = 0; i < sizeof(large); i++)
        large[i] = (char)(i * 7 + i / 255);
    relay_send(d, 'A', "n\xc3\xa4me", "text \" \\ \n \x01 \xc2\x85 \xe2\x80\xa8 end", 23);
    relay_send(d, 'A', "\xff\x01", "\x00\xff\x80 bytes", 9);
    relay_send(d, 'A', "", "", 0);
    relay_send(d, 'J', "", "{\"a\" :\n [1, \"\\u00e9\\n\"]}", 24);
    relay_send(d, 'A', "", large, 9000);
    relay_send(d, 'A', "", large, sizeof(large));
    relay_send(d, 'F', "a/b c.bin", large, sizeof(large));
    relay_send(d, 'F', "a/small", "x", 1);
    relay_check_stream(d, &n);
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
        relay_kill(d);
        if (i % 10 == 5)
            daemon_reload(d); /* also: a relay that may not wait long to be replaced */
        if (i % 10 == 6)
            nats_launch(&n);
    }
    load_advance(l, 200, 60000);
    load_stop(l);
    if (!n.running)
        nats_launch(&n);
    relay_check_stream(d, &n);
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
    faults_need();
    nats_start(&n, NULL);
    d = daemon_start(&(struct daemon_options){
        .set = {relay_option(&n, "stream_create=yes")}, .faults = true, .errors_expected = true});
    relay_send_text(d, "0");
    relay_check_stream(d, &n);
    faults_set(d, "rename EIO relay.position 1");
    for (unsigned i = 0; i < 20; i++)
        relay_send_text(d, "hello");
    relay_check_stream(d, &n);
    WAIT_FOR(daemon_logged(d, "the position cannot be saved"), 10000);
    for (unsigned i = 0; i < 3; i++) {
        relay_kill(d);
        relay_check_stream(d, &n);
    }
    assert_true(stats_total(d, "relayed") > 21);
    faults_set(d, "");
    relay_send_text(d, "1");
    relay_check_stream(d, &n);
    daemon_stop(d);
}

static void
a_cluster_that_is_away_holds_nobody_up(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct load *l;

    (void)state;
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
    relay_check_stream(d, &n);
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
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* Each source has its share: who may connect at all, how many connections one address may have, how
 * fast it may send, how much of the disk its unfinished messages may take, and for how long a
 * source that makes trouble is turned away. */
#include "raw_tiny.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
expect_refused(const struct target *target, const char *from, const char *code)
{
    struct answer a;
    struct peer p;

    peer_connect_from(&p, target, from);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
    assert_string_equal(a.code, code);
    assert_true(peer_closed(&p, 5000));
    peer_close(&p);
}

static void
expect_served(const struct target *target, const char *from)
{
    struct answer a;
    struct peer p;

    peer_connect_from(&p, target, from);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    peer_close(&p);
}

static void
rules_say_who_may_connect(void **state)
{
    char unix_url[HARNESS_PATH_LEN * 2], dir[HARNESS_PATH_LEN];
    struct daemon *d;

    (void)state;
    harness_directory(dir);
    snprintf(unix_url, sizeof(unix_url), "msp://%s/s?allow=user:65533", dir);
    d = daemon_start(&(struct daemon_options){
        .listen = {"msp://127.0.0.1:0?allow=127.0.0.0/8&deny=127.0.0.2", unix_url,
                   "msp://127.0.0.1:0?allow=10.0.0.0/8,::1,unix"}});
    expect_served(&d->listeners[0], "127.0.0.1");
    expect_refused(&d->listeners[0], "127.0.0.2", "denied");
    expect_refused(&d->listeners[1], NULL, "denied");
    expect_refused(&d->listeners[2], "127.0.0.1", "denied");
    assert_int_equal(stats_total(d, "denied"), 3);
    assert_int_equal(stats_total(d, "refused"), 3);
    daemon_stop(d);
}

static void
a_rule_is_said_in_the_word_of_each_protocol(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {"auto://127.0.0.1:0?deny=127.0.0.1", "tinyproto://127.0.0.1:0?deny=127.0.0.1",
                   "frame://127.0.0.1:0?deny=127.0.0.1", "cnp://127.0.0.1:0?deny=127.0.0.1"}});
    const struct outgoing m = {.kind = 'A', .body = "x", .len = 1};
    uint8_t first[WIRE_FIRST_MAX], byte;
    char error[256];
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]); /* not before it is known what it speaks */
    assert_int_equal(peer_write(&p, first, wire_first(first, &m)), 0);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
    assert_string_equal(a.code, "denied");
    peer_close(&p);
    peer_connect(&p, &d->listeners[1]);
    assert_int_equal(peer_read(&p, &byte, 1), 0);
    assert_int_equal(byte, 0); /* GENERIC_ERROR */
    peer_close(&p);
    peer_connect(&p, &d->listeners[2]);
    assert_true(peer_closed(&p, 5000));
    peer_close(&p);
    peer_connect(&p, &d->listeners[3]);
    memset(error, 0, sizeof(error));
    assert_true(peer_read_some(&p, error, sizeof(error) - 1, 5000) > 11);
    assert_non_null(memmem(error, sizeof(error), "\"denied\"", 8));
    peer_close(&p);
    assert_int_equal(stats_total(d, "denied"), 4);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(rules_say_who_may_connect),
        SYSTEM_TEST(a_rule_is_said_in_the_word_of_each_protocol),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

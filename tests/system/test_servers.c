/* One URL of three msockds: senders go on while each of them is killed, restarted and reloaded in
 * turn, and every way to send takes the next server where the first one is away. */
#include "journal.h"
#include "load.h"
#include "senders.h"
#include "stats.h"
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS 3
#define ROUNDS  9
#define STEP    5 /* messages of each sender between two blows */

/* --- servers that die --- */

static void
start_sender(struct sender *s, unsigned index, const char *options,
             struct daemon *const servers[SERVERS])
{
    const char *at[SERVERS];
    char url[200];

    for (unsigned i = 0; i < SERVERS; i++)
        at[i] = strstr(servers[i]->listeners[s->way == SENDER_CNP].url, "://") + 3;
    snprintf(url, sizeof(url), "%s://%s,%s,%s%s", s->way == SENDER_CNP ? "cnp" : "msp", at[0],
             at[1], at[2], options);
    s->large = SENDER_BODY_MAX;
    sender_start(s, index, url);
}

static void
check_journals(struct sender *senders, size_t count, struct daemon *const servers[SERVERS])
{
    struct journal j[SERVERS];

    for (unsigned i = 0; i < SERVERS; i++) {
        journal_load(servers[i]->data_dir, false, &j[i]);
        journal_check(&j[i]);
        assert_in_range(j[i].count, 1, SIZE_MAX);
    }
    (void)senders_check(senders, count, j, SERVERS); /* each server has ids of its own */
    for (unsigned i = 0; i < SERVERS; i++)
        journal_free(&j[i]);
}

static void
start_servers(struct daemon *servers_out[SERVERS])
{
    for (unsigned i = 0; i < SERVERS; i++) {
        servers_out[i] = daemon_start(
            &(struct daemon_options){.listen = {"msp://127.0.0.1:0", "cnp://127.0.0.1:0"},
                                     .set = {LOAD_PATIENCE},
                                     .errors_expected = true});
        daemon_keep_ports(servers_out[i]);
    }
}

static void
servers_that_are_killed_and_restarted_in_turn_hold_up_no_sender(void **state)
{
    static const struct {
        enum sender_way way;
        const char *options;
    } rows[] = {
        {SENDER_STRICT, ""},
        {SENDER_STRICT, "?pick=spread"},
        {SENDER_STRICT, "?pick=random"},
        {SENDER_AHEAD, ""},
        {SENDER_AHEAD, "?pick=spread"},
        {SENDER_FILES, "?pick=spread"},
        {SENDER_CNP, "?pick=spread&mode=burst"},
    };
    static struct sender senders[MS_ARRAY_LEN(rows)];
    const size_t count = MS_ARRAY_LEN(rows);
    struct daemon *servers[SERVERS];

    (void)state;
    start_servers(servers);
    for (unsigned i = 0; i < count; i++) {
        senders[i].way = rows[i].way;
        start_sender(&senders[i], i, rows[i].options, servers);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct daemon *victim = servers[round % SERVERS];

        senders_advance(senders, count, STEP);
        daemon_kill(victim);
        senders_advance(senders, count, STEP);
        daemon_reload(servers[(round + 1) % SERVERS]);
        daemon_launch(victim);
    }
    senders_advance(senders, count, STEP);
    senders_stop(senders, count);
    for (unsigned i = 0; i < SERVERS; i++)
        daemon_stop(servers[i]);
    check_journals(senders, count, servers);
}

static void
expect_run(const char *const argv[], const char *input, const char *said)
{
    const struct run_options how = {.input = input, .input_len = strlen(input)};
    struct run_result result;
    struct running r;

    run_start(&r, argv, &how);
    run_finish(&r, 30000, &result);
    if (result.status != 0 || strstr(result.err, said) == NULL)
        fail_msg("%s %s: status %d: %s", argv[2], argv[3], result.status, result.err);
    run_result_free(&result);
}

/* The first server of each list is gone. */
static void
every_protocol_and_command_takes_the_next_server(void **state)
{
    static const struct {
        const char *listen, *options;
    } rows[] = {
        {"msp", ""},
        {"tinyproto", ""},
        {"cnp", ""},
        {"cnp", "?mode=burst"},
        {"frame", ""},
        {"frame", "?framing=delimiter"},
        {"frame", "?framing=fixed:6"},
        {"frame", "?framing=eof"},
    };
    const size_t count = MS_ARRAY_LEN(rows);
    struct daemon_options options = {.workers = 1};
    char listen[8][64], url[200], said[100];
    struct daemon *gone, *there;

    (void)state;
    for (size_t i = 0; i < count; i++) {
        snprintf(listen[i], sizeof(listen[i]), "%s://127.0.0.1:0%s", rows[i].listen,
                 strcmp(rows[i].listen, "frame") == 0 ? rows[i].options : "");
        options.listen[i] = listen[i];
    }
    gone = daemon_start(&options);
    there = daemon_start(&options);
    daemon_keep_ports(gone);
    daemon_stop(gone);
    for (size_t i = 0; i < count; i++) {
        unsigned port = target_port(&there->listeners[i]);
        const char *program = harness_program("msock");

        snprintf(url, sizeof(url), "%s://127.0.0.1:%u,127.0.0.1:%u%s", rows[i].listen,
                 target_port(&gone->listeners[i]), port, rows[i].options);
        snprintf(said, sizeof(said), "msock: connected to 127.0.0.1:%u\n", port);
        expect_run((const char *[]){program, "-u", url, "send", "-v", "string", NULL}, "", said);
        expect_run((const char *[]){program, "-u", url, "send", "--lines", "-v", NULL},
                   "line 1\nline 2\n", said);
        if (i > 0)
            expect_run((const char *[]){program, "-u", url, "chat", "-v", NULL}, "typed!\n", said);
        expect_run(
            (const char *[]){program, "-u", url, "bench", "-n", "3", "-c", "1", "-s", "6", NULL},
            "", "");
    }
    /* What is only sent may still be on its way. */
    WAIT_FOR(stats_total(there, "messages") == count * (3 + 1 + 3) - 1, 10000);
    daemon_stop(there);
    assert_int_equal(journal_count(there->data_dir), count * (3 + 1 + 3) - 1);
}

static void
a_busy_server_leads_to_the_next_without_a_retry(void **state)
{
    static const char *const schemes[] = {"msp", "cnp", "tinyproto"};
    struct daemon_options options = {
        .workers = 1,
        .listen = {"msp://127.0.0.1:0", "cnp://127.0.0.1:0", "tinyproto://127.0.0.1:0"}};
    struct daemon *there = daemon_start(&options), *busy;
    struct answer a;
    struct peer p;

    (void)state;
    options.set[0] = "max_connections=1";
    busy = daemon_start(&options);
    peer_connect(&p, &busy->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    for (unsigned i = 0; i < 3; i++) {
        unsigned port = target_port(&there->listeners[i]);
        char url[100], said[100];

        snprintf(url, sizeof(url), "%s://127.0.0.1:%u,127.0.0.1:%u", schemes[i],
                 target_port(&busy->listeners[i]), port);
        snprintf(said, sizeof(said), "msock: connected to 127.0.0.1:%u\n", port);
        expect_run((const char *[]){harness_program("msock"), "-u", url, "send", "-v", "-r", "0",
                                    "hello", NULL},
                   "", said);
    }
    peer_close(&p);
    daemon_stop(busy);
    daemon_stop(there);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(servers_that_are_killed_and_restarted_in_turn_hold_up_no_sender),
        SYSTEM_TEST(every_protocol_and_command_takes_the_next_server),
        SYSTEM_TEST(a_busy_server_leads_to_the_next_without_a_retry),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* The command-line sender: what arrives, what it says, and that it does not give up on a server
 * that is killed and comes back. */
#include "faults.h"
#include "journal.h"
#include "stats.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
msock_start(struct running *r, const struct daemon *d, const char *const *words,
            const struct run_options *how)
{
    const char *argv[24] = {harness_program("msock"), "-u", d->listeners[0].url};
    size_t n = 3;

    while (n < 23 && (argv[n] = *words++) != NULL)
        n++;
    run_start(r, argv, how);
}

static struct run_result
msock(const struct daemon *d, const char *const *words, const struct run_options *how)
{
    struct run_result result;
    struct running r;

    msock_start(&r, d, words, how);
    run_finish(&r, 60000, &result);
    return result;
}

#define WORDS(...)        \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

static void
expect_status(struct run_result result, int status)
{
    if (result.status != status)
        fail_msg("status %d, not %d; it said: %s%s", result.status, status, result.out, result.err);
    run_result_free(&result);
}

static void
messages_json_and_files_arrive(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct run_options how = {.input = "from standard input", .input_len = 19};
    char file[HARNESS_PATH_LEN], at[HARNESS_PATH_LEN + 1], json[HARNESS_PATH_LEN];
    char body[300000];
    const struct entry *e;
    struct journal j;

    (void)state;
    memset(body, 'f', sizeof(body));
    harness_join(file, d->dir, "big.bin");
    harness_write_file(file, body, sizeof(body));
    harness_join(json, d->dir, "doc.json");
    harness_write_file(json, "{\"from\":\"a file\"}", 17);
    snprintf(at, sizeof(at), "@%s", json);
    expect_status(msock(d, WORDS("send", "--id", "m1", "a message"), NULL), 0);
    expect_status(msock(d, WORDS("send", "--id", "m2", "-"), &how), 0);
    expect_status(msock(d, WORDS("send-json", "--id", "j1", "{\"hello\":\"world\"}"), NULL), 0);
    expect_status(msock(d, WORDS("send-json", "--id", "j2", at), NULL), 0);
    expect_status(msock(d, WORDS("send-file", file, json), NULL), 0);
    expect_status(msock(d, WORDS("send-file", "--as", "other/name", file), NULL), 0);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, 7);
    assert_int_equal(journal_find_key(&j, "m1", &e), 1);
    assert_string_equal(e->body, "a message");
    assert_int_equal(journal_find_key(&j, "m2", &e), 1);
    assert_string_equal(e->body, "from standard input");
    assert_int_equal(journal_find_key(&j, "j1", &e), 1);
    assert_string_equal(e->body, "{\"hello\":\"world\"}");
    assert_string_equal(e->kind, "json");
    assert_int_equal(journal_find_key(&j, "j2", &e), 1);
    assert_string_equal(e->body, "{\"from\":\"a file\"}");
    journal_free(&j);
}

static void
the_exit_status_tells_what_happened(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});

    (void)state;
    expect_status(msock(d, WORDS("send-json", "{\"broken\":"), NULL), 65);
    expect_status(msock(d, WORDS("send-file", "--as", "../x", harness_source("Makefile")), NULL),
                  65);
    expect_status(msock(d, WORDS("send", "x"), NULL), 0);
    daemon_stop(d);
    expect_status(msock(d, WORDS("send", "--retries", "1", "x"), NULL), 69);
}

static void
json_output_is_one_object_a_file(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct run_result result = msock(
        d, WORDS("send-file", "--json", harness_program("msock"), harness_program("msockctl")),
        NULL);
    unsigned objects = 0;
    char *save = NULL;

    (void)state;
    assert_int_equal(result.status, 0);
    for (char *line = strtok_r(result.out, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *value = json_loads(line, 0, NULL);

        if (!json_is_object(value))
            fail_msg("no JSON object: %s", line);
        json_decref(value);
        objects++;
    }
    assert_int_equal(objects, 2);
    run_result_free(&result);
    daemon_stop(d);
}

static void
the_sender_waits_for_a_server_that_is_not_there_yet(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct running senders[5];
    struct run_result result;
    struct journal j;
    char id[16];

    (void)state;
    daemon_keep_ports(d);
    daemon_kill(d);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(id, sizeof(id), "early-%u", i);
        msock_start(&senders[i], d, WORDS("send", "--retries", "30", "--id", id, "patient"), NULL);
    }
    assert_false(run_ended(&senders[0], 300)); /* no server, and it has not given up */
    daemon_launch(d);
    for (unsigned i = 0; i < 5; i++) {
        run_finish(&senders[i], 30000, &result);
        expect_status(result, 0);
    }
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(id, sizeof(id), "early-%u", i);
        assert_true(journal_find_key(&j, id, NULL) >= 1);
    }
    journal_free(&j);
}

/* A file is on its way when everything dies, and waits for the disk; it is whole in the end. */
static void
a_file_survives_the_death_of_the_server_on_its_way(void **state)
{
    enum { SIZE = 48 << 20 };
    struct daemon *d;
    char file[HARNESS_PATH_LEN];
    char *body;
    struct running sender;
    struct run_result result;
    struct proc_list workers;
    const struct entry *e;
    struct journal j;

    (void)state;
    faults_need();
    d = daemon_start(
        &(struct daemon_options){.workers = 2, .set = {"packet_size_max=4K"}, .faults = true});
    body = malloc(SIZE);
    assert_non_null(body);
    for (size_t i = 0; i < SIZE; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    harness_join(file, d->dir, "large.bin");
    harness_write_file(file, body, SIZE);
    daemon_keep_ports(d);
    faults_set(d, "write hang /data/ 100\n");
    msock_start(&sender, d, WORDS("send-file", "--retries", "30", file), NULL);
    WAIT_FOR(faults_struck(d) > 0, 20000);
    faults_set(d, "");
    daemon_workers(d, &workers);
    for (size_t i = 0; i < workers.count; i++)
        signal_send(workers.pid[i], SIGKILL);
    daemon_kill(d);
    assert_false(run_ended(&sender, 0));
    daemon_launch(d);
    run_finish(&sender, 60000, &result);
    expect_status(result, 0);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_true(j.count >= 1);
    e = &j.entries[0];
    assert_string_equal(e->file, "files/large.bin");
    assert_int_equal(e->body_len, SIZE);
    assert_memory_equal(e->body, body, SIZE);
    journal_free(&j);
    free(body);
}

static void
bench_counts_what_it_sent(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2, .handler = "discard"});
    static const char *const kinds[] = {"plain", "json"};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct run_result result =
            msock(d,
                  WORDS("bench", "--json", "--connections", "10", "--messages", "2000", "--size",
                        "256", "--kind", kinds[i % 2], "--ahead", i < 2 ? "1" : "16"),
                  NULL);
        json_t *value = json_loads(result.out, 0, NULL);

        if (result.status != 0 || !json_is_object(value))
            fail_msg("bench: status %d, %s%s", result.status, result.out, result.err);
        assert_int_equal(json_integer_value(json_object_get(value, "messages")), 2000);
        assert_int_equal(json_integer_value(json_object_get(value, "errors")), 0);
        json_decref(value);
        run_result_free(&result);
        WAIT_FOR(stats_total(d, "messages") == 2000u * (i + 1), 2000);
    }
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(messages_json_and_files_arrive),
        SYSTEM_TEST(the_exit_status_tells_what_happened),
        SYSTEM_TEST(json_output_is_one_object_a_file),
        SYSTEM_TEST(the_sender_waits_for_a_server_that_is_not_there_yet),
        SYSTEM_TEST(a_file_survives_the_death_of_the_server_on_its_way),
        SYSTEM_TEST(bench_counts_what_it_sent),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

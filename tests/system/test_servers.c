/* One URL of three msockds: senders go on while each of them is killed, restarted and reloaded in
 * turn, and every way to send takes the next server where the first one is away. */
#include "journal.h"
#include "load.h"
#include "msock.h"
#include "target.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS   3
#define ROUNDS    9
#define STEP      5 /* messages of each sender between two blows */
#define SENT_MAX  20000
#define BODY_MAX  200000
#define BODY_NAME 32
#define PATIENCE  (5000u * WAIT_SCALE)

/* --- senders --- */

enum sender_way {
    SENDER_STRICT, /* one message after the other */
    SENDER_AHEAD,  /* bursts */
    SENDER_FILES,
    SENDER_CNP, /* which may give a message up that is in doubt */
};

struct sender {
    enum sender_way way;
    const char *scheme, *options;
    unsigned index;
    char url[200];
    msock *m;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint64_t acked;
    uint64_t sent;
    bool is_acked[SENT_MAX];
    char complaint[600]; /* what it could not send */
    char body[BODY_MAX];
};

static size_t
body_size(uint64_t number)
{
    return number % 25 == 24 ? BODY_MAX : BODY_NAME + number % 3000;
}

/* Writes message number n of a sender, which begins with its name and a space. */
static size_t
body_make(unsigned sender, uint64_t number, char *out)
{
    size_t size = body_size(number), n;

    n = (size_t)snprintf(out, BODY_NAME, "s%u-%llu ", sender, (unsigned long long)number);
    for (size_t i = n; i < size; i++)
        out[i] = (char)('a' + (i + number) % 26);
    return size;
}

static void
sender_acked(struct sender *s, uint64_t number)
{
    s->is_acked[number] = true;
    s->acked++;
}

static void
sender_failed(struct sender *s, uint64_t number, enum msock_status status)
{
    bool allowed = s->way == SENDER_CNP && status == MSOCK_GIVEN_UP;

    if (!allowed && s->complaint[0] == '\0')
        snprintf(s->complaint, sizeof(s->complaint), "message %llu: %s: %.500s",
                 (unsigned long long)number, msock_status_name(status), msock_error(s->m));
}

static void
sender_settled(void *arg, uint64_t number, enum msock_status status)
{
    struct sender *s = arg;

    if (status == MSOCK_OK)
        sender_acked(s, number);
    else
        sender_failed(s, number, status);
}

/* The file is written anew for each message. */
static enum msock_status
sender_send_file(struct sender *s, const char *name, size_t n)
{
    FILE *f = tmpfile();
    enum msock_status status = MSOCK_LOCAL;

    if (f == NULL)
        return status;
    if (fwrite(s->body, 1, n, f) == n && fflush(f) == 0 && fseek(f, 0, SEEK_SET) == 0)
        status = msock_send_fd(s->m, fileno(f), name);
    fclose(f);
    return status;
}

static enum msock_status
sender_send(struct sender *s)
{
    size_t n = body_make(s->index, s->sent, s->body);
    char name[BODY_NAME] = "";

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(s->body, " "), s->body);
    if (s->way != SENDER_CNP && s->way != SENDER_FILES)
        (void)!msock_set_id(s->m, name, strlen(name));
    switch (s->way) {
    case SENDER_AHEAD:
        return msock_send_ahead(s->m, 'A', s->body, n);
    case SENDER_FILES:
        return sender_send_file(s, name, n);
    case SENDER_STRICT:
    case SENDER_CNP:
        break;
    }
    return msock_send(s->m, s->body, n);
}

static void *
sender_main(void *arg)
{
    struct sender *s = arg;

    while (!s->stop && s->sent < SENT_MAX && s->complaint[0] == '\0') {
        enum msock_status status = sender_send(s);

        if (s->way == SENDER_AHEAD) {
            if (status != MSOCK_OK)
                sender_failed(s, s->sent, status);
        } else if (status == MSOCK_OK) {
            sender_acked(s, s->sent);
        } else {
            sender_failed(s, s->sent, status);
        }
        s->sent++;
    }
    (void)!msock_flush(s->m, -1);
    msock_close(s->m);
    return NULL;
}

static void
sender_start(struct sender *s, unsigned index, struct daemon *const servers[SERVERS])
{
    const char *at[SERVERS];
    char error[200];

    s->index = index;
    for (unsigned i = 0; i < SERVERS; i++)
        at[i] = strstr(servers[i]->listeners[s->way == SENDER_CNP].url, "://") + 3;
    snprintf(s->url, sizeof(s->url), "%s://%s,%s,%s%s", s->scheme, at[0], at[1], at[2], s->options);
    if (msock_url_error(s->url, error, sizeof(error)) != MSOCK_OK)
        fail_msg("%s", error);
    s->m = msock_open(s->url);
    assert_non_null(s->m);
    msock_set_timeouts(s->m, PATIENCE, 6 * PATIENCE);
    msock_set_settled(s->m, sender_settled, s);
    assert_int_equal(pthread_create(&s->thread, NULL, sender_main, s), 0);
}

static bool
sender_advanced(const struct sender *senders, size_t count, const uint64_t *before)
{
    for (size_t i = 0; i < count; i++)
        if (senders[i].acked < before[i] + STEP && senders[i].complaint[0] == '\0')
            return false;
    return true;
}

/* Each sender has got some more messages taken. */
static void
senders_advance(const struct sender *senders, size_t count)
{
    uint64_t before[16];

    for (size_t i = 0; i < count; i++)
        before[i] = senders[i].acked;
    WAIT_FOR(sender_advanced(senders, count, before), 60000);
}

static void
senders_stop(struct sender *senders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        senders[i].stop = true;
    for (size_t i = 0; i < count; i++)
        pthread_join(senders[i].thread, NULL);
}

/* --- what is in the journals --- */

static int
compare_bodies(const void *a, const void *b)
{
    const struct entry *one = *(const struct entry *const *)a;
    const struct entry *other = *(const struct entry *const *)b;
    size_t n = strcspn(one->body, " "), k = strcspn(other->body, " ");
    int order = memcmp(one->body, other->body, n < k ? n : k);

    return order != 0 ? order : (n > k) - (n < k);
}

/* Its id or path, where the protocol carries one, is the name in its body. */
static bool
entry_is_named(const struct entry *e, const struct sender *s)
{
    const char *slash = strrchr(e->file, '/');
    const char *name = slash != NULL ? slash + 1 : e->key;
    size_t n = strcspn(e->body, " ");

    return s->way == SENDER_CNP || (strlen(name) == n && memcmp(name, e->body, n) == 0);
}

static bool
entry_is_whole(const struct entry *e, const struct sender *s, uint64_t number, char *expected)
{
    size_t n = body_make(s->index, number, expected);

    return e->sound && entry_is_named(e, s) && e->body_len == n &&
           memcmp(e->body, expected, n) == 0;
}

/* Each acknowledged message is in one of the journals, and nothing that was not sent so. */
static void
check_acked(const struct sender *s, const struct entry **all, size_t count, char *expected)
{
    for (uint64_t number = 0; number < s->sent; number++) {
        struct entry wanted = {.body = expected}, *key = &wanted, **found;

        if (!s->is_acked[number])
            continue;
        body_make(s->index, number, expected);
        found = bsearch(&key, all, count, sizeof(*all), compare_bodies);
        if (found == NULL || !entry_is_whole(*found, s, number, expected))
            fail_msg("%s: message %llu is %s: key %s, file %s, %zu bytes", s->url,
                     (unsigned long long)number,
                     found == NULL ? "in no journal" : "not as it was sent",
                     found != NULL ? (*found)->key : "", found != NULL ? (*found)->file : "",
                     found != NULL ? (*found)->body_len : 0);
    }
}

static void
check_journals(const struct sender *senders, size_t sender_count,
               struct daemon *const servers[SERVERS])
{
    struct journal j[SERVERS];
    const struct entry **all;
    char *expected = malloc(BODY_MAX + 1);
    size_t count = 0;

    for (unsigned i = 0; i < SERVERS; i++) {
        journal_load(servers[i]->data_dir, false, &j[i]);
        journal_check(&j[i]);
        assert_in_range(j[i].count, 1, SIZE_MAX);
        count += j[i].count;
    }
    all = calloc(count, sizeof(struct entry *));
    count = 0;
    for (unsigned i = 0; i < SERVERS; i++)
        for (size_t k = 0; k < j[i].count; k++)
            all[count++] = &j[i].entries[k];
    qsort(all, count, sizeof(*all), compare_bodies);
    for (size_t i = 0; i < sender_count; i++)
        check_acked(&senders[i], all, count, expected);
    print_message("%zu records\n", count);
    free(all);
    free(expected);
    for (unsigned i = 0; i < SERVERS; i++)
        journal_free(&j[i]);
}

/* --- tests --- */

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
    static struct sender senders[] = {
        {.way = SENDER_STRICT, .scheme = "msp", .options = ""},
        {.way = SENDER_STRICT, .scheme = "msp", .options = "?pick=spread"},
        {.way = SENDER_STRICT, .scheme = "msp", .options = "?pick=random"},
        {.way = SENDER_AHEAD, .scheme = "msp", .options = ""},
        {.way = SENDER_AHEAD, .scheme = "msp", .options = "?pick=spread"},
        {.way = SENDER_FILES, .scheme = "msp", .options = "?pick=spread"},
        {.way = SENDER_CNP, .scheme = "cnp", .options = "?pick=spread&mode=burst"},
    };
    const size_t count = sizeof(senders) / sizeof(senders[0]);
    struct daemon *servers[SERVERS];

    (void)state;
    start_servers(servers);
    for (unsigned i = 0; i < count; i++)
        sender_start(&senders[i], i, servers);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct daemon *victim = servers[round % SERVERS];

        senders_advance(senders, count);
        daemon_kill(victim);
        senders_advance(senders, count);
        daemon_reload(servers[(round + 1) % SERVERS]);
        daemon_launch(victim);
    }
    senders_advance(senders, count);
    senders_stop(senders, count);
    for (unsigned i = 0; i < SERVERS; i++)
        daemon_stop(servers[i]);
    for (size_t i = 0; i < count; i++)
        if (senders[i].complaint[0] != '\0')
            fail_msg("%s: %s", senders[i].url, senders[i].complaint);
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
    const size_t count = sizeof(rows) / sizeof(rows[0]);
    struct daemon_options options = {.workers = 1};
    char listen[8][64], url[200], said[100];
    struct daemon *gone, *there;
    struct journal j;

    (void)state;
    for (size_t i = 0; i < count; i++) {
        snprintf(listen[i], sizeof(listen[i]), "%s://127.0.0.1:0%s", rows[i].listen,
                 strcmp(rows[i].listen, "frame") == 0 ? rows[i].options : "");
        options.listen[i] = listen[i];
    }
    gone = daemon_start(&options);
    there = daemon_start(&options);
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
    daemon_stop(there);
    journal_load(there->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, count * (3 + 1 + 3) - 1);
    journal_free(&j);
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

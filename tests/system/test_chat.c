/* A chat of fifty over four workers: every line comes to everybody else once, and those of one
 * member in their order; over reloads, when a worker dies, and when some do not read. */
#include "daemon.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "stats.h"

#include "support/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS   50
#define SLEEPERS  10
#define WORKERS   4
#define RELOADS   20
#define LINES     25
#define LINES_MAX 256
#define TEXT_MAX  16384

struct chat;

struct member {
    struct raw raw;
    struct chat *chat;
    unsigned number;
    pthread_t thread;
    _Atomic unsigned said;           /* lines */
    _Atomic unsigned heard[MEMBERS]; /* lines of each other member */
    bool has[MEMBERS][LINES_MAX];
    _Atomic unsigned disorder;  /* lines that came before one that was said before them */
    _Atomic unsigned heard_all; /* of all others */
    _Atomic bool lost;          /* the connection has ended */
    char complaint[160];        /* the first thing that was not in order; then it is lost, too */
    char text[TEXT_MAX];
};

struct chat {
    unsigned member_count;
    size_t line_len;          /* each line is filled up to so many bytes */
    _Atomic unsigned may_say; /* lines of each member so far */
    _Atomic bool over;
    bool talks; /* the threads of the members run */
    struct member *members;
};

static struct chat chat; /* where teardown finds it */

static void
complain(struct member *m, const char *what, const char *line)
{
    snprintf(m->complaint, sizeof(m->complaint), "member %u: %s: %.60s", m->number, what, line);
    m->lost = true;
}

/* "7 12 xxxx": line 12 of member 7. A module's chat puts a name before it. */
static void
hear(struct member *m, const char *line, size_t n)
{
    const char *text = memmem(line, n, ": ", 2);
    unsigned from, number;

    if (text == NULL && memmem(line, n, " joined", 7) != NULL)
        return;
    text = text != NULL ? text + 2 : line;
    if (sscanf(text, "%u %u ", &from, &number) != 2 || from >= m->chat->member_count)
        complain(m, "this is no line", line);
    else if (from == m->number)
        complain(m, "its own line", line);
    else if (number >= LINES_MAX || m->has[from][number])
        complain(m, "once more", line);
    else if (n - (size_t)(text - line) < m->chat->line_len)
        complain(m, "it is cut", line);
    else {
        m->disorder += number != m->heard[from];
        m->has[from][number] = true;
        m->heard[from]++;
        m->heard_all++;
    }
}

static void
say(struct member *m)
{
    int head = snprintf(m->text, sizeof(m->text), "%u %u ", m->number, m->said);

    memset(m->text + head, 'x', m->chat->line_len);
    if (m->raw.kind->send(&m->raw, m->text, (size_t)head + m->chat->line_len) < 0) {
        m->lost = true;
        return;
    }
    m->said++;
}

static bool
has_line(struct member *m)
{
    struct pollfd fd = {.fd = m->raw.peer.fd, .events = POLLIN};

    return m->raw.first != NULL || m->raw.peer.have > 0 || poll(&fd, 1, 2) > 0;
}

static void *
take_part(void *arg)
{
    struct member *m = arg;
    size_t n;
    char *line;

    while (!m->lost && !m->chat->over) {
        if (m->said < m->chat->may_say)
            say(m);
        while (!m->lost && has_line(m)) {
            line = m->raw.kind->receive(&m->raw, &n);
            if (line == NULL)
                m->lost = true;
            else
                hear(m, line, n);
            free(line);
        }
    }
    return NULL;
}

/* --- all of them --- */

typedef const struct raw_kind *(*kind_fn)(unsigned number, size_t *listener_out);

static void
chat_open(struct chat *c, const struct daemon *d, unsigned count, size_t line_len, kind_fn kind_of)
{
    uint64_t others = stats_total(d, "accepted");

    *c = (struct chat){.member_count = count, .line_len = line_len};
    c->members = calloc(count, sizeof(*c->members));
    assert_non_null(c->members);
    for (unsigned i = 0; i < count; i++) {
        struct member *m = &c->members[i];
        size_t listener = 0;
        const struct raw_kind *kind = kind_of(i, &listener);

        m->chat = c;
        m->number = i;
        raw_connect(&m->raw, kind, &d->listeners[listener], RAW_WHOLE);
    }
    WAIT_FOR(stats_total(d, "accepted") == others + count, 5000);
}

static void
chat_begin(struct chat *c)
{
    c->talks = true;
    for (unsigned i = 0; i < c->member_count; i++)
        assert_int_equal(pthread_create(&c->members[i].thread, NULL, take_part, &c->members[i]), 0);
}

static void
chat_end(struct chat *c)
{
    c->over = true;
    for (unsigned i = 0; c->talks && i < c->member_count; i++)
        pthread_join(c->members[i].thread, NULL);
    c->talks = false;
}

static void
chat_free(struct chat *c)
{
    for (unsigned i = 0; i < c->member_count; i++)
        raw_close(&c->members[i].raw);
    free(c->members);
    *c = (struct chat){0};
}

static int
chat_teardown(void **state)
{
    chat_end(&chat);
    chat_free(&chat);
    return harness_teardown(state);
}

static void
check_members(const struct chat *c)
{
    for (unsigned i = 0; i < c->member_count; i++)
        if (c->members[i].complaint[0] != '\0')
            fail_msg("%s", c->members[i].complaint);
}

/* The first member that has not said so many lines, or not heard so many of each other one; NULL:
 * all have. Those whose connection has ended do not count, where that is to be expected. */
static const struct member *
first_behind(const struct chat *c, unsigned lines, bool without_lost)
{
    check_members(c);
    for (unsigned i = 0; i < c->member_count; i++) {
        const struct member *m = &c->members[i];

        if (m->lost && without_lost)
            continue;
        if (m->lost)
            fail_msg("member %u is disconnected", i);
        for (unsigned k = 0; k < c->member_count; k++)
            if (k != i ? m->heard[k] < lines && !(without_lost && c->members[k].lost)
                       : m->said < lines)
                return m;
    }
    return NULL;
}

static void
await_lines(const struct chat *c, unsigned lines, bool without_lost)
{
    struct waiting w = waiting_begin(30000);
    const struct member *m;

    while ((m = first_behind(c, lines, without_lost)) != NULL)
        if (!waiting_more(&w))
            fail_msg("member %u at %s has said %u and heard %u lines, of %u each", m->number,
                     m->raw.peer.name, (unsigned)m->said, (unsigned)m->heard_all, lines);
}

static void
check_order(const struct chat *c)
{
    for (unsigned i = 0; i < c->member_count; i++)
        if (c->members[i].disorder > 0)
            fail_msg("member %u heard lines out of order", i);
}

/* What is heard now is the last line: a double or a late one would come before it. */
static void
say_last_line(struct chat *c)
{
    unsigned lines = ++c->may_say;

    await_lines(c, lines, false);
}

static const struct raw_kind *
all_frames(unsigned number, size_t *listener_out)
{
    (void)number;
    *listener_out = 0;
    return &raw_frame_length32;
}

static const struct raw_kind *
all_delimited(unsigned number, size_t *listener_out)
{
    (void)number;
    *listener_out = 0;
    return &raw_frame_delimiter;
}

static const struct raw_kind *
all_tiny(unsigned number, size_t *listener_out)
{
    (void)number;
    *listener_out = 0;
    return &raw_tiny;
}

static const struct raw_kind *
all_sorts(unsigned number, size_t *listener_out)
{
    *listener_out = 0;
    return raw_kinds[number % RAW_FOUND];
}

static char module_url[HARNESS_PATH_LEN + 100];

static const char *
module_listener(void)
{
    snprintf(module_url, sizeof(module_url),
             "frame://127.0.0.1:0?framing=delimiter&handler=module&path=%s",
             harness_program("examples/chat.so"));
    return module_url;
}

static struct daemon *
start(const char *listen)
{
    return daemon_start(
        &(struct daemon_options){.workers = WORKERS, .handler = "broadcast", .listen = {listen}});
}

/* Lines before, during and after the reloads. */
static void
talk_over_reloads(const char *listen, kind_fn kind_of)
{
    struct daemon *d = start(listen);
    struct chat *c = &chat;

    chat_open(c, d, MEMBERS, 40, kind_of);
    chat_begin(c);
    c->may_say = 2;
    await_lines(c, 2, false);
    check_order(c); /* who has moved to another worker may be heard out of turn */
    for (unsigned i = 0; i < RELOADS; i++) {
        c->may_say++;
        daemon_reload(d);
    }
    say_last_line(c);
    assert_true(stats_total(d, "adopted") >= MEMBERS);
    assert_int_equal(stats_total(d, "accepted"), MEMBERS);
    assert_int_equal(stats_total(d, "lost"), 0);
    chat_end(c);
    check_members(c);
    chat_free(c);
    daemon_stop(d);
}

static void
frames_reach_everybody_once_over_reloads(void **state)
{
    (void)state;
    talk_over_reloads("frame://127.0.0.1:0", all_frames);
}

static void
tinyproto_reaches_everybody_once_over_reloads(void **state)
{
    (void)state;
    talk_over_reloads("tinyproto://127.0.0.1:0", all_tiny);
}

static void
members_of_all_protocols_at_one_port_hear_each_other_over_reloads(void **state)
{
    (void)state;
    talk_over_reloads("auto://127.0.0.1:0", all_sorts);
}

static void
a_module_brings_lines_to_everybody_once_over_reloads(void **state)
{
    (void)state;
    talk_over_reloads(module_listener(), all_delimited);
}

/* --- a worker dies --- */

static unsigned
count_lost(const struct chat *c)
{
    unsigned lost = 0;

    for (unsigned i = 0; i < c->member_count; i++)
        lost += c->members[i].lost;
    return lost;
}

/* One that has members, as another one has, too. */
static pid_t
worker_with_members(const struct daemon *d)
{
    json_t *rows = stats_read(d, "workers"), *row;
    json_int_t pid = 0;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        json_int_t open = json_integer_value(json_object_get(row, "open"));

        if (open > 0 && open < MEMBERS)
            pid = json_integer_value(json_object_get(row, "pid"));
    }
    json_decref(rows);
    return (pid_t)pid;
}

static void
a_killed_worker_takes_its_members_and_no_line_of_the_others(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = WORKERS,
                                                             .handler = "broadcast",
                                                             .listen = {"auto://127.0.0.1:0"},
                                                             .errors_expected = true});
    struct chat *c = &chat;
    unsigned lost;

    (void)state;
    chat_open(c, d, MEMBERS, 40, all_sorts);
    chat_begin(c);
    c->may_say = LINES;
    await_lines(c, 2, false);
    signal_send(worker_with_members(d), SIGKILL);
    WAIT_FOR(daemon_has_workers(d, WORKERS) && stats_workers_sum(d, "restarts") == 1, 10000);
    c->may_say = 2 * LINES;
    await_lines(c, 2 * LINES, true);
    lost = count_lost(c);
    assert_in_range(lost, 1, MEMBERS - 1);
    WAIT_FOR(stats_total(d, "open") == MEMBERS - lost, 5000);
    chat_end(c);
    check_members(c);
    check_order(c);
    assert_int_equal(count_lost(c), lost);
    chat_free(c);
    daemon_stop(d);
}

/* --- some do not read --- */

static void
who_does_not_read_is_dropped_and_slows_nobody(void **state)
{
    static const int least = 4096;
    struct daemon *d = start("frame://127.0.0.1:0?send_queue_max=1M");
    struct raw sleepers[SLEEPERS];
    struct chat *c = &chat;

    (void)state;
    for (unsigned i = 0; i < SLEEPERS; i++) {
        raw_connect(&sleepers[i], &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
        setsockopt(sleepers[i].peer.fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
    }
    WAIT_FOR(stats_total(d, "accepted") == SLEEPERS, 5000);
    chat_open(c, d, MEMBERS - SLEEPERS, 8000, all_frames);
    chat_begin(c);
    while (stats_total(d, "open") > MEMBERS - SLEEPERS)
        say_last_line(c);
    say_last_line(c);
    print_message("dropped after %u lines of everybody else\n", (unsigned)c->may_say);
    assert_true(stats_total(d, "lost") >= SLEEPERS);
    check_order(c);
    chat_end(c);
    check_members(c);
    chat_free(c);
    for (unsigned i = 0; i < SLEEPERS; i++)
        raw_close(&sleepers[i]);
    daemon_stop(d);
}

#define CHAT_TEST(f) cmocka_unit_test_setup_teardown(f, NULL, chat_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CHAT_TEST(frames_reach_everybody_once_over_reloads),
        CHAT_TEST(tinyproto_reaches_everybody_once_over_reloads),
        CHAT_TEST(members_of_all_protocols_at_one_port_hear_each_other_over_reloads),
        CHAT_TEST(a_module_brings_lines_to_everybody_once_over_reloads),
        CHAT_TEST(a_killed_worker_takes_its_members_and_no_line_of_the_others),
        CHAT_TEST(who_does_not_read_is_dropped_and_slows_nobody),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

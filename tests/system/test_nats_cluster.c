/* All at once: a cluster of three whose leader dies again and again, three msockds in front of it
 * that are killed and reloaded, and senders that know all three by one URL. What was acknowledged
 * is in the stream, once, as it was sent; but for messages that the servers themselves have
 * lost, as 2.9.10 does now and then when its leader dies: they gave the number that they confirmed
 * to another one too, or the stream does not reach it.
 *
 * NATS_MESSAGES=20000 is how many messages are sent at least. */
#include "nats_case.h"
#include "senders.h"
#include "target.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAEMONS   3
#define SENDERS   50
#define MESSAGES  4000
#define A_LEADER  2000  /* messages for which one dies */
#define LARGE     20000 /* bytes, which go in chunks */
#define PACE_MS   300
#define LEADER_US (3000000u * WAIT_SCALE)
#define DAEMON_US (1000000u * WAIT_SCALE)
#define A_SECOND  40 /* messages that are sent at least, however busy the machine is */

static struct sender senders[SENDERS];

struct scene {
    struct nats n[NATS_CLUSTER];
    struct daemon *d[DAEMONS];
    char url[DAEMONS][NATS_URL_SIZE];
    uint64_t leader_us, daemon_us; /* when the next blow falls */
    struct nats *dead;             /* the leader that was killed last; NULL: it is back */
    bool was_whole;
    unsigned leaders, steps;            /* blows so far */
    unsigned workers, daemons, reloads; /* of them */
};

static uint64_t
messages_wanted(void)
{
    const char *text = getenv("NATS_MESSAGES");

    return text != NULL ? strtoull(text, NULL, 10) : MESSAGES;
}

/* --- what the servers have confirmed, by the logs --- */

#define NAME_SIZE 32

static struct told {
    char name[NAME_SIZE];
    uint64_t seq;
} * told;
static size_t told_count, told_cap;
static uint64_t stream_last;
static unsigned lost_by_nats;

/* "...: all id NAME is number 42 of S", "...: all file SHA256 NAME is number 42 of S" */
static void
read_told_line(const char *line)
{
    static const char behind[] = " is number ";
    const char *end = strstr(line, behind), *name = end;

    if (end == NULL || end > line + strcspn(line, "\n"))
        return;
    while (name > line && name[-1] != ' ')
        name--;
    if (told_count == told_cap) {
        told_cap = 2 * told_cap + 1024;
        told = realloc(told, told_cap * sizeof(*told));
        assert_non_null(told);
    }
    snprintf(told[told_count].name, NAME_SIZE, "%.*s", (int)(end - name), name);
    told[told_count++].seq = strtoull(end + strlen(behind), NULL, 10);
}

static void
read_told(const struct daemon *d)
{
    char *log = harness_read_file(d->log_path, NULL);

    assert_non_null(log);
    for (const char *line = log; line != NULL; line = strchr(line + 1, '\n'))
        read_told_line(line);
    free(log);
}

static bool
was_given_to_another(const struct told *t)
{
    for (size_t i = 0; i < told_count; i++)
        if (told[i].seq == t->seq && strcmp(told[i].name, t->name) != 0)
            return true;
    return false;
}

static bool
was_lost_by_nats(const char *name)
{
    for (size_t i = 0; i < told_count; i++)
        if (strcmp(told[i].name, name) == 0 &&
            (told[i].seq > stream_last || was_given_to_another(&told[i]))) {
            print_message("%s is lost, which a server had confirmed as number %llu\n", name,
                          (unsigned long long)told[i].seq);
            lost_by_nats++;
            return true;
        }
    return false;
}

/* --- the scene --- */

/* One id_scope for all: a message that one of them may have published is the same at the next. */
static void
start_daemons(struct scene *s)
{
    for (unsigned i = 0; i < DAEMONS; i++) {
        snprintf(s->url[i], sizeof(s->url[i]),
                 "msp://127.0.0.1:%u?handler=nats&stream=S&stream_create=yes&replicas=3"
                 "&nats_timeout=3s&id_scope=all&subject=in.{kind}"
                 "&servers=nats://127.0.0.1:%u,nats://127.0.0.1:%u,nats://127.0.0.1:%u",
                 nats_free_port(), s->n[i].port, s->n[(i + 1) % NATS_CLUSTER].port,
                 s->n[(i + 2) % NATS_CLUSTER].port);
        s->d[i] = daemon_start(&(struct daemon_options){.listen = {s->url[i]},
                                                        .set = {LOAD_PATIENCE},
                                                        .more = {"-v"},
                                                        .errors_expected = true});
    }
}

static void
start_senders(const struct scene *s)
{
    static const enum sender_way turns[] = {SENDER_STRICT, SENDER_AHEAD, SENDER_STRICT,
                                            SENDER_AHEAD, SENDER_FILES};
    static const char *const picks[] = {"spread", "random", "first"};
    char url[200];

    for (unsigned i = 0; i < SENDERS; i++) {
        snprintf(url, sizeof(url), "msp://127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u?pick=%s",
                 target_port(&s->d[0]->listeners[0]), target_port(&s->d[1]->listeners[0]),
                 target_port(&s->d[2]->listeners[0]), picks[i % 3]);
        senders[i] = (struct sender){.way = turns[i % (MS_ARRAY_LEN(turns))],
                                     .retries = 1000,
                                     .large = LARGE,
                                     .pace_ms = PACE_MS,
                                     .was_lost = was_lost_by_nats};
        sender_start(&senders[i], i, url);
    }
}

/* --- blows --- */

/* It comes back when the others have chosen a leader, and the next one dies 3 s after all three
 * have everything. Where it is back at once, nats-server 2.9.10 often chooses one that lacks what
 * was confirmed last, whatever any client does. */
static void
strike_leader(struct scene *s)
{
    bool is_whole = false;
    int leader = nats_cluster_leader(s->n, &is_whole);

    if (leader >= 0 && s->dead != NULL) {
        nats_spawn(s->dead);
        s->dead = NULL;
    } else if (is_whole && s->was_whole) {
        s->dead = &s->n[leader];
        nats_kill(s->dead);
        s->leaders++;
    }
    s->leader_us = now_us() + (is_whole && !s->was_whole ? LEADER_US : 0);
    s->was_whole = is_whole && s->dead == NULL;
}

static void
kill_worker(struct scene *s, struct daemon *d)
{
    struct proc_list workers;

    daemon_workers(d, &workers);
    if (workers.count == 0)
        return;
    signal_send(workers.pid[s->steps % workers.count], SIGKILL);
    s->workers++;
}

/* A worker killed, a daemon killed, a reload, and so on; each daemon has each done to it in turn.
 */
static void
strike_daemon(struct scene *s)
{
    struct daemon *d = s->d[(s->steps + s->steps / 3) % DAEMONS];

    switch (s->steps % 3) {
    case 0:
        kill_worker(s, d);
        break;
    case 1:
        daemon_kill(d);
        daemon_launch(d);
        s->daemons++;
        break;
    case 2:
        daemon_reload(d);
        s->reloads++;
        break;
    }
    s->steps++;
    s->daemon_us = now_us() + DAEMON_US;
}

static void
strike(struct scene *s, uint64_t wanted)
{
    struct waiting w = waiting_begin((unsigned)(60000 + wanted * 1000 / A_SECOND));

    s->daemon_us = now_us() + DAEMON_US;
    while (senders_acked(senders, SENDERS) < wanted || s->leaders < wanted / A_LEADER) {
        if (!waiting_more(&w))
            fail_msg("%llu messages after %u kills of the leader",
                     (unsigned long long)senders_acked(senders, SENDERS), s->leaders);
        if (now_us() >= s->leader_us)
            strike_leader(s);
        if (now_us() >= s->daemon_us)
            strike_daemon(s);
    }
}

/* --- the stream --- */

/* The leader, once all three are there and have everything. */
static const struct nats *
whole_cluster(struct scene *s)
{
    bool is_whole = false;
    int leader = -1;

    if (s->dead != NULL)
        nats_spawn(s->dead);
    s->dead = NULL;
    WAIT_FOR((leader = nats_cluster_leader(s->n, &is_whole)) >= 0 && is_whole, 60000);
    return &s->n[leader];
}

static void
check_stream(struct scene *s)
{
    const struct nats *leader = whole_cluster(s);
    struct nats_client c;
    size_t orphans, doubles;
    struct journal j;

    assert_true(nats_open(&c, leader));
    stream_last = nats_last(&c, "S");
    nats_close(&c);
    for (unsigned i = 0; i < DAEMONS; i++)
        read_told(s->d[i]);
    nats_read_stream(leader, "S", &j, &orphans);
    journal_check(&j);
    doubles = senders_check(senders, SENDERS, &j, 1);
    print_message("lost = 0, doubles = %zu, chunks without a manifest = %zu, lost by NATS = %u\n",
                  doubles, orphans, lost_by_nats);
    assert_int_equal(doubles, 0);
    journal_free(&j);
}

static void
each_message_is_in_the_stream_once_whatever_dies(void **state)
{
    const uint64_t wanted = messages_wanted();
    uint64_t begin_us;
    struct scene s = {.steps = 0};

    (void)state;
    nats_need();
    alarm((unsigned)(120 + wanted / A_SECOND) * WAIT_SCALE);
    nats_cluster_start(s.n, "max_payload: 8192");
    start_daemons(&s);
    start_senders(&s);
    begin_us = now_us();
    strike(&s, wanted);
    senders_stop(senders, SENDERS);
    print_message(
        "%llu messages in %.1f s; killed: %u leaders, %u daemons, %u workers; %u reloads\n",
        (unsigned long long)senders_acked(senders, SENDERS), (double)(now_us() - begin_us) / 1e6,
        s.leaders, s.daemons, s.workers, s.reloads);
    check_stream(&s);
    for (unsigned i = 0; i < DAEMONS; i++)
        daemon_stop(s.d[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(each_message_is_in_the_stream_once_whatever_dies),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* All at once: a cluster of three whose leader dies again and again, three msockds in front of it
 * that are killed and reloaded, and senders that know all three by one URL. What was acknowledged
 * is in the stream, once, as it was sent. Where the servers themselves have lost what they had
 * confirmed, as 2.9.10 does now and then when its leader dies, nothing is said about msockd.
 *
 * NATS_MESSAGES=20000 is how many messages are sent at least. */
#include "nats_case.h"
#include "nats_watch.h"
#include "senders.h"
#include "target.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
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
        s->d[i] = daemon_start(&(struct daemon_options){
            .listen = {s->url[i]}, .set = {LOAD_PATIENCE}, .errors_expected = true});
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
        senders[i] = (struct sender){.way = turns[i % (sizeof(turns) / sizeof(turns[0]))],
                                     .retries = 1000,
                                     .large = LARGE,
                                     .pace_ms = PACE_MS};
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

static const struct nats *
wait_for_leader(const struct scene *s)
{
    WAIT_FOR(nats_cluster_leader(s->n, NULL) >= 0, 60000);
    return &s->n[nats_cluster_leader(s->n, NULL)];
}

static uint64_t
last_number(const struct scene *s)
{
    struct nats_client c;
    uint64_t last;

    assert_true(nats_open(&c, wait_for_leader(s)));
    last = nats_last(&c, "S");
    nats_close(&c);
    return last;
}

static void
check_stream(struct scene *s)
{
    size_t orphans, doubles;
    struct journal j;

    nats_read_stream(wait_for_leader(s), "S", &j, &orphans);
    journal_check(&j);
    doubles = senders_check(senders, SENDERS, &j, 1);
    print_message("lost = 0, doubles = %zu, chunks without a manifest = %zu\n", doubles, orphans);
    assert_int_equal(doubles, 0);
    journal_free(&j);
}

static void
each_message_is_in_the_stream_once_whatever_dies(void **state)
{
    const uint64_t wanted = messages_wanted();
    uint64_t begin_us, lost;
    struct nats_watch *watch;
    struct scene s = {.steps = 0};

    (void)state;
    nats_need();
    alarm((unsigned)(120 + wanted / A_SECOND) * WAIT_SCALE);
    nats_cluster_start(s.n, "max_payload: 8192");
    watch = nats_watch_start(s.n);
    start_daemons(&s);
    start_senders(&s);
    begin_us = now_us();
    strike(&s, wanted);
    senders_stop(senders, SENDERS);
    print_message(
        "%llu messages in %.1f s; killed: %u leaders, %u daemons, %u workers; %u reloads\n",
        (unsigned long long)senders_acked(senders, SENDERS), (double)(now_us() - begin_us) / 1e6,
        s.leaders, s.daemons, s.workers, s.reloads);
    lost = nats_watch_stop(watch, last_number(&s));
    if (lost == 0)
        check_stream(&s);
    for (unsigned i = 0; i < DAEMONS; i++)
        daemon_stop(s.d[i]);
    if (lost != 0) {
        print_message(
            "skipped: the NATS servers have lost message %llu, which they had confirmed\n",
            (unsigned long long)lost);
        skip();
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(each_message_is_in_the_stream_once_whatever_dies),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* Reloads and upgrades, one after the other, while good senders work over every protocol. A tenth
 * of the configurations is wrong and a third of the programs is bad. Nobody is to notice: what else
 * disturbs senders is in test_soak.c.
 *
 * SOAK_RELOADS=10000 SOAK_UPGRADES=500 (make soak-long) is how many there are. */
#include "load.h"
#include "program.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define WORKERS       3
#define RELOADS       40
#define UPGRADES      (3 * PROGRAM_BAD_KINDS) /* a third is bad */
#define KEPT          50                      /* idle connections */
#define PAUSE_MS      50 /* of a sender, so that the journal of the long form fits in memory */
#define STEP_S        3  /* for the alarm: of a reload or an upgrade, at most */
#define LEAVING_MAX   30 /* processes that drain; msockd tells the oldest of 61 to leave at once */
#define SEGMENT_FILES 2  /* descriptors of a worker that has written: of its segment */
#define LEEWAY_KIB    4096 /* a master has 700 for each generation that drains */

enum part { PART_FIRST_QUARTER, PART_SECOND_QUARTER, PART_UPGRADES, PARTS };

struct outcome {
    unsigned good, bad; /* taken, as it should be; refused, as it should be */
};

struct soak {
    struct daemon *d;
    struct load *loads[WAYS_MAX];
    struct peer kept[KEPT];
    unsigned wanted_reloads, wanted_upgrades;
    struct outcome reloads, upgrades;
    int master_files, worker_files; /* descriptors in the beginning, without a connection */
    int master_files_worst, worker_files_worst;
    uint64_t master_kib[PARTS], worker_kib[PARTS]; /* the worst */
};

static unsigned
wanted(const char *variable, unsigned by_default)
{
    const char *text = getenv(variable);

    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : by_default;
}

/* --- what happens --- */

static void
configure(struct daemon *d, bool good)
{
    char text[WAYS_CONFIGURATION_LEN];

    ways_configuration(good ? "workers = 3\ntimeout = 30s\nidle_timeout = 1d\n"
                            : "workers = many\n",
                       text, sizeof(text));
    daemon_configure(d, text);
}

static void
change(struct soak *s, const char *command, bool good, struct outcome *outcome)
{
    struct run_result result = daemon_control(s->d, command, NULL);

    if (result.status != (good ? EX_OK : EX_CONFIG))
        fail_msg("%s %u: status %d, %s%s", command, outcome->good + outcome->bad, result.status,
                 result.out, result.err);
    run_result_free(&result);
    *(good ? &outcome->good : &outcome->bad) += 1;
}

static void
reload(struct soak *s)
{
    bool good = (s->reloads.good + s->reloads.bad) % 10 != 5;

    if (!good)
        configure(s->d, false);
    change(s, "reload", good, &s->reloads);
    if (!good)
        configure(s->d, true);
}

static void
upgrade(struct soak *s)
{
    bool good = (s->upgrades.good + s->upgrades.bad) % 3 != 1;

    if (good)
        program_put_good();
    else
        program_put_bad(s->upgrades.bad);
    change(s, "upgrade", good, &s->upgrades);
}

/* --- what it costs --- */

static void
worst_files(int *worst, pid_t pid)
{
    int n = proc_descriptors(pid);

    *worst = n > *worst ? n : *worst;
}

static void
worst_memory(uint64_t *worst, pid_t pid)
{
    uint64_t kib = proc_memory(pid) / 1024;

    *worst = kib > *worst ? kib : *worst;
}

static void
note_costs(struct soak *s, enum part part)
{
    struct proc_list workers;

    daemon_workers(s->d, &workers);
    worst_files(&s->master_files_worst, s->d->run.pid);
    worst_memory(&s->master_kib[part], s->d->run.pid);
    for (size_t i = 0; i < workers.count; i++) {
        worst_files(&s->worker_files_worst, workers.pid[i]);
        worst_memory(&s->worker_kib[part], workers.pid[i]);
    }
}

static int
files_of_workers(const struct daemon *d)
{
    struct proc_list workers;
    int worst = 0;

    daemon_workers(d, &workers);
    for (size_t i = 0; i < workers.count; i++)
        worst_files(&worst, workers.pid[i]);
    return worst;
}

/* --- the soak --- */

static void
soak_start(struct soak *s)
{
    static char text[WAYS_CONFIGURATION_LEN];
    struct daemon_options options = {
        .config = text, .program = program_begin(), .errors_expected = true};

    s->wanted_reloads = wanted("SOAK_RELOADS", RELOADS);
    s->wanted_upgrades = wanted("SOAK_UPGRADES", UPGRADES);
    alarm((120 + STEP_S * (s->wanted_reloads + s->wanted_upgrades)) * WAIT_SCALE);
    s->d = daemon_create(&options);
    configure(s->d, true);
    daemon_launch(s->d);
    WAIT_FOR(daemon_has_workers(s->d, WORKERS), 10000);
    s->master_files = proc_descriptors(s->d->run.pid);
    s->worker_files = files_of_workers(s->d);
    for (size_t i = 0; i < way_count; i++) {
        char tag[24];

        snprintf(tag, sizeof(tag), "c%zu", i);
        s->loads[i] = load_start_way(&ways[i], &s->d->listeners[i], tag, 1, 400);
        s->loads[i]->pause_ms = PAUSE_MS;
    }
}

static void
use_kept(struct soak *s)
{
    struct answer a;

    for (unsigned i = 0; i < KEPT; i++)
        assert_int_equal(peer_send_plain(&s->kept[i], NULL, "kept", 4, &a), ANSWER_ACK);
}

/* The reloads go on beside the upgrades, which are spread over the second half. */
static void
soak_run(struct soak *s)
{
    const unsigned half = s->wanted_reloads / 2, rest = s->wanted_reloads - half;

    for (unsigned i = 0; i < s->wanted_reloads; i++) {
        unsigned due = i < half ? 0 : s->wanted_upgrades * (i - half + 1) / rest;
        struct proc_list workers;

        reload(s);
        while (s->upgrades.good + s->upgrades.bad < due)
            upgrade(s);
        note_costs(s, i < half / 2 ? PART_FIRST_QUARTER
                      : i < half   ? PART_SECOND_QUARTER
                                   : PART_UPGRADES);
        WAIT_FOR((daemon_workers(s->d, &workers), workers.count <= LEAVING_MAX), 30000);
    }
}

static void
soak_report(const struct soak *s)
{
    unsigned long long acked = 0, repeated = 0, refused = 0, broken = 0, closed = 0;

    for (size_t i = 0; i < way_count; i++) {
        const struct load *l = s->loads[i];

        acked += l->acked;
        repeated += l->repeated;
        refused += l->refused_connects;
        broken += l->broken + l->errors + l->rejected + l->spoiled;
        closed += l->way->stays ? l->connects - l->thread_count : 0;
    }
    print_message("%u reloads, %u wrong ones refused; %u upgrades, %u bad ones refused; "
                  "%zu senders and %d idle connections\n",
                  s->reloads.good, s->reloads.bad, s->upgrades.good, s->upgrades.bad, way_count,
                  KEPT);
    print_message("%llu messages acknowledged, %llu sent again, %llu other answers, %llu refused "
                  "connects, %llu connections closed\n",
                  acked, repeated, broken, refused, closed);
    print_message("descriptors: master %d, %d at most; worker %d, %d at most\n", s->master_files,
                  s->master_files_worst, s->worker_files, s->worker_files_worst);
    print_message("KiB at most, in the first quarter, the second, and with upgrades: "
                  "master %llu, %llu, %llu; worker %llu, %llu, %llu\n",
                  (unsigned long long)s->master_kib[0], (unsigned long long)s->master_kib[1],
                  (unsigned long long)s->master_kib[2], (unsigned long long)s->worker_kib[0],
                  (unsigned long long)s->worker_kib[1], (unsigned long long)s->worker_kib[2]);
}

static void
expect_unnoticed(const struct load *l)
{
    uint64_t bad = l->rejected + l->errors + l->broken + l->spoiled + l->refused_connects;

    if (bad + l->repeated + l->cut != 0 || l->acked == 0)
        fail_msg("%s: %llu acknowledged, %llu sent again, %llu refused connects, %llu bad: %s %s",
                 l->way->name, (unsigned long long)l->acked, (unsigned long long)l->repeated,
                 (unsigned long long)l->refused_connects, (unsigned long long)bad, l->complaint,
                 l->lost);
    if (l->way->stays && l->connects != l->thread_count)
        fail_msg("%s: %llu connections were closed", l->way->name,
                 (unsigned long long)(l->connects - l->thread_count));
}

static void
soak_stop(struct soak *s)
{
    for (size_t i = 0; i < way_count; i++)
        load_advance(s->loads[i], 1, 60000);
    for (size_t i = 0; i < way_count; i++)
        load_stop(s->loads[i]);
}

static void
expect_flat(const struct soak *s)
{
    WAIT_FOR(daemon_has_workers(s->d, WORKERS), 30000);
    WAIT_FOR(proc_descriptors(s->d->run.pid) <= s->master_files, 10000);
    WAIT_FOR(files_of_workers(s->d) <= s->worker_files + SEGMENT_FILES, 10000);
#ifndef MS_SANITIZE
    for (enum part part = PART_SECOND_QUARTER; part < PARTS; part++) {
        assert_in_range(s->master_kib[part], 1, s->master_kib[0] + LEEWAY_KIB);
        if (s->worker_files > 0) /* /proc tells of workers, but to root alone */
            assert_in_range(s->worker_kib[part], 1, s->worker_kib[0] + LEEWAY_KIB);
    }
#endif
}

static void
nobody_notices_reloads_and_upgrades(void **state)
{
    static struct soak s;
    struct journal j;

    (void)state;
    soak_start(&s);
    for (unsigned i = 0; i < KEPT; i++)
        peer_connect(&s.kept[i], &s.d->listeners[0]);
    use_kept(&s);
    soak_run(&s);
    soak_stop(&s);
    soak_report(&s);
    for (size_t i = 0; i < way_count; i++)
        expect_unnoticed(s.loads[i]);
    use_kept(&s);
    for (unsigned i = 0; i < KEPT; i++)
        peer_close(&s.kept[i]);
    expect_flat(&s);
    daemon_stop(s.d);
    journal_load(s.d->data_dir, false, &j);
    for (size_t i = 0; i < way_count; i++)
        assert_int_equal(load_check_journal(s.loads[i], &j), 0);
    journal_free(&j);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(nobody_notices_reloads_and_upgrades),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

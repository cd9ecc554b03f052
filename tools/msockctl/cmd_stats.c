/* msockctl stats: totals and workers, once or again and again. msockctl workers: who they are. */
#include "ctl.h"

#include "common/base.h"
#include "common/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* --- for people: who runs, the totals with what each counter means, a row a worker --- */

static void
head_print(const struct snapshot *s, const char *since)
{
    char age[UNIT_LEN], version[128], text[2048];

    text_escape(s->version, strlen(s->version), version, sizeof(version));
    text_escape(s->reload_text, strlen(s->reload_text), text, sizeof(text));
    printf("msockd %s, pid %d, ", version, s->pid);
    if (s->alive == SNAPSHOT_DEAD)
        printf("not running any more: these are its last numbers");
    else
        printf("up %s%s",
               unit_age(s->taken_us > s->started_us ? s->taken_us - s->started_us : 0, age),
               s->alive == SNAPSHOT_UNKNOWN ? " (if it runs: its lock is not readable)" : "");
    printf(", generation %" PRIu64 "\n", s->generation);
    if (s->reloads > 0)
        printf("reloads %" PRIu64 ", the last one %s%s%s\n", s->reloads, verdict_name(s->verdict),
               text[0] != '\0' ? ": " : "", text);
    if (since != NULL) {
        text_escape(since, strlen(since), text, sizeof(text));
        printf("counted since %s\n", text);
    }
    putchar('\n');
}

/* before_n > n where a reading went astray; then there is no rate. */
static json_t *
rate_text(uint64_t n, const uint64_t *before_n, uint64_t us)
{
    if (before_n == NULL || us == 0 || n < *before_n)
        return json_string("-");
    return json_sprintf("%.1f/s", (double)(n - *before_n) * 1e6 / (double)us);
}

static void
total_add(json_t *rows, const char *name, const char *help, uint64_t n, json_t *rate)
{
    json_array_append_new(rows, json_pack("{s:s, s:o, s:o, s:s}", "name", name, "n", json_count(n),
                                          "rate", rate, "help", help));
}

static void
totals_print(const struct snapshot *s, const struct snapshot *before)
{
    static const struct column plain[] = {
        {"name", "TOTAL", COLUMN_TEXT}, {"n", "", COLUMN_COUNT}, {"help", "", COLUMN_TEXT}};
    static const struct column rated[] = {{"name", "TOTAL", COLUMN_TEXT},
                                          {"n", "", COLUMN_COUNT},
                                          {"rate", "RATE", COLUMN_RIGHT},
                                          {"help", "", COLUMN_TEXT}};
    const struct stats_counts *now = &s->total.counts;
    const struct stats_counts *old = before != NULL ? &before->total.counts : NULL;
    const uint64_t us = before != NULL ? s->taken_us - before->taken_us : 0;
    json_t *rows = json_array();

#define X(name, help)                       \
    total_add(rows, #name, help, now->name, \
              rate_text(now->name, old != NULL ? &old->name : NULL, us));
    COUNTERS(X)
#undef X
    total_add(rows, "open", "connections open now", s->total.open, json_string("-"));
    if (before != NULL)
        table_print(rows, rated, MS_ARRAY_LEN(rated));
    else
        table_print(rows, plain, MS_ARRAY_LEN(plain));
    json_decref(rows);
}

static void
latency_print(const struct stats_totals *t)
{
    static const double parts[] = {0.5, 0.9, 0.99, 0.999, 1.0};
    static const char *const names[] = {"p50", "p90", "p99", "p99.9", "max"};
    char text[UNIT_LEN];

    printf("\nfirst byte to final answer: ");
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++)
        printf(" %s %s%s", names[i], unit_duration(stats_percentile(t->latency, parts[i]), text),
               i + 1 < MS_ARRAY_LEN(parts) ? "," : "\n");
    printf("messages a commit:           ");
    if (t->counts.commits > 0)
        printf("%.1f\n", (double)t->counts.committed / (double)t->counts.commits);
    else
        puts("-");
    printf("memory held, its bound:      %s", text_bytes((double)t->memory, text));
    printf(", %s\n", text_bytes((double)t->memory_max, text));
    printf("received, sent:              %s", text_bytes((double)t->counts.bytes_in, text));
    printf(", %s\n\n", text_bytes((double)t->counts.bytes_out, text));
}

static const struct stats_worker_view *
worker_find(const struct snapshot *s, uint64_t incarnation)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].incarnation == incarnation)
            return &s->workers[i];
    return NULL;
}

static void
workers_print(const struct snapshot *s, const struct snapshot *before)
{
    static const struct column columns[] = {
        {"worker", "WORKER", COLUMN_COUNT},     {"pid", "PID", COLUMN_COUNT},
        {"state", "STATE", COLUMN_TEXT},        {"generation", "GENERATION", COLUMN_COUNT},
        {"restarts", "RESTARTS", COLUMN_COUNT}, {"open", "OPEN", COLUMN_COUNT},
        {"accepted", "ACCEPTED", COLUMN_COUNT}, {"messages", "MESSAGES", COLUMN_COUNT},
        {"nack1", "NACK1", COLUMN_COUNT},       {"nack2", "NACK2", COLUMN_COUNT},
        {"rej", "REJ", COLUMN_COUNT},           {"err", "ERR", COLUMN_COUNT},
        {"bytes_in", "IN", COLUMN_BYTES},       {"bytes_out", "OUT", COLUMN_BYTES},
        {"p50", "P50", COLUMN_LATENCY},         {"p99", "P99", COLUMN_LATENCY},
        {"rate", "MESSAGES/S", COLUMN_RIGHT}, /* only with before, and the last one */
    };
    json_t *rows = json_workers(s);

    for (unsigned i = 0; i < s->worker_count && before != NULL; i++) {
        const struct stats_worker_view *w = &s->workers[i];
        const struct stats_worker_view *old = worker_find(before, w->incarnation);

        json_put(json_array_get(rows, i), "rate",
                 rate_text(w->totals.counts.messages,
                           old != NULL ? &old->totals.counts.messages : NULL,
                           s->taken_us - before->taken_us));
    }
    table_print(rows, columns, MS_ARRAY_LEN(columns) - (before != NULL ? 0 : 1));
    json_decref(rows);
}

/* With rates where before, an earlier snapshot of the same run, is not NULL. */
static void
tables_print(const struct snapshot *s, const struct snapshot *before, const char *since)
{
    head_print(s, since);
    totals_print(s, before);
    latency_print(&s->total);
    workers_print(s, before);
}

/* --- the command --- */

struct stats_command {
    bool json, prometheus;
    const char *watch, *since;
    uint64_t interval_us; /* 0: once */
    json_t *baseline;     /* NULL: none */
};

static void
print(const struct stats_command *cmd, const struct snapshot *s, const struct snapshot *before)
{
    const char *since = cmd->baseline != NULL ? baseline_time(cmd->baseline) : NULL;
    const bool again = cmd->interval_us != 0;

    if (cmd->json) {
        json_print(json_snapshot(s, since), again);
    } else if (cmd->prometheus) {
        prometheus_print(stdout, s, false);
    } else {
        if (again && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        tables_print(s, before, since);
        if (again && !isatty(STDOUT_FILENO))
            putchar('\n');
    }
}

/* Takes a snapshot less the baseline. Returns EX_OK, or a status after an error message. */
static int
take(const struct ctl *ctl, struct stats_command *cmd, struct snapshot *out)
{
    int status = snapshot_take(ctl, out);

    if (status != EX_OK)
        return status;
    if (cmd->since != NULL && cmd->baseline == NULL)
        status = baseline_open(ctl, cmd->since, out, &cmd->baseline);
    if (cmd->baseline != NULL)
        baseline_subtract(cmd->baseline, out);
    if (status != EX_OK)
        snapshot_fini(out);
    return status;
}

static void
sleep_until(uint64_t us)
{
    const struct timespec ts = {.tv_sec = (time_t)(us / 1000000),
                                .tv_nsec = (long)(us % 1000000) * 1000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}

/* Goes on while msockd is away, since it may come back; a new one begins without rates. */
static int
watch(const struct ctl *ctl, struct stats_command *cmd, struct snapshot *first)
{
    struct snapshot before = *first, now = {0};
    uint64_t next_us = first->taken_us;

    while (ctl_finish(ctl, EX_OK) == EX_OK) {
        next_us += cmd->interval_us;
        if (next_us < clock_mono_us())
            next_us = clock_mono_us();
        sleep_until(next_us);
        if (take(ctl, cmd, &now) != EX_OK)
            continue;
        print(cmd, &now, strcmp(now.boot_id, before.boot_id) == 0 ? &before : NULL);
        snapshot_fini(&before);
        before = now;
    }
    snapshot_fini(&before);
    return EX_IOERR;
}

static int
run(const struct ctl *ctl, struct stats_command *cmd)
{
    struct snapshot s;
    int status = take(ctl, cmd, &s);

    if (status != EX_OK)
        return status;
    print(cmd, &s, NULL);
    if (cmd->interval_us != 0)
        return watch(ctl, cmd, &s);
    snapshot_fini(&s);
    return ctl_finish(ctl, EX_OK);
}

static int
stats_run(struct ctl *ctl, int argc, char *argv[])
{
    struct stats_command cmd = {0};
    const struct ctl_option options[] = {{"json", &cmd.json, NULL},
                                         {"prometheus", &cmd.prometheus, NULL},
                                         {"watch", NULL, &cmd.watch},
                                         {"since", NULL, &cmd.since}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));

    if (status != CTL_GO_ON)
        return status;
    if (cmd.json && cmd.prometheus)
        return ctl_usage(ctl, "--json and --prometheus exclude each other");
    if (cmd.prometheus && (cmd.watch != NULL || cmd.since != NULL))
        return ctl_usage(ctl, "--prometheus is for a scraper, which does what --watch and --since "
                              "do by itself");
    if (cmd.watch != NULL && ctl_seconds(ctl, "watch", cmd.watch, &cmd.interval_us) < 0)
        return EX_USAGE;
    status = run(ctl, &cmd);
    json_decref(cmd.baseline);
    return status;
}

const struct ctl_command ctl_stats = {
    .name = "stats",
    .summary = "totals and one row a worker, also of a msockd that is dead",
    .help = "usage: msockctl [-r DIR] stats [OPTION]...\n"
            "Totals over all workers since msockd started, and one row for each present worker.\n\n"
            "  --json           one JSON document\n"
            "  --prometheus     the text format that Prometheus scrapes\n"
            "  --watch SECONDS  print again at this interval, with rates; fractions are allowed;\n"
            "                   with --json one document a line\n"
            "  --since FILE     subtract the numbers in FILE, a baseline of this run; if FILE is\n"
            "                   missing, it is created with the present numbers\n",
    .run = stats_run,
};

/* --- workers --- */

static const struct column worker_columns[] = {{"kind", "KIND", COLUMN_TEXT},
                                               {"worker", "WORKER", COLUMN_COUNT},
                                               {"pid", "PID", COLUMN_COUNT},
                                               {"state", "STATE", COLUMN_TEXT},
                                               {"generation", "GENERATION", COLUMN_COUNT},
                                               {"restarts", "RESTARTS", COLUMN_COUNT},
                                               {"sandbox", "SANDBOX", COLUMN_TEXT},
                                               {"age", "AGE", COLUMN_AGE},
                                               {"open", "OPEN", COLUMN_COUNT},
                                               {"memory", "MEMORY", COLUMN_BYTES},
                                               {"accepted", "ACCEPTED", COLUMN_COUNT},
                                               {"refused", "REFUSED", COLUMN_COUNT},
                                               {"messages", "MESSAGES", COLUMN_COUNT},
                                               {"turns", "TURNS", COLUMN_COUNT},
                                               {"commits", "COMMITS", COLUMN_COUNT}};

static int
workers_rows(const struct ctl *ctl, json_t **rows_out)
{
    struct snapshot s;
    int status = snapshot_take(ctl, &s);

    if (status != EX_OK)
        return status;
    *rows_out = json_workers(&s);
    snapshot_fini(&s);
    return EX_OK;
}

static int
workers_run(struct ctl *ctl, int argc, char *argv[])
{
    bool changes = argc > 1 && strchr("+-=", argv[1][0]) != NULL && isdigit((uint8_t)argv[1][1]);

    return changes ? workers_change(ctl, argc, argv) : table_run(ctl, argc, argv);
}

const struct ctl_command ctl_workers = {
    .name = "workers",
    .summary = "the worker processes, and the relay",
    .help =
        "usage: msockctl [-r DIR] workers [--json | +N | -N | =N]\n"
        "The worker processes and the relay, by generation: after a reload those of the\n"
        "generation before stay as draining until their connections are done.\n\n"
        "  --json      an array of objects, as under \"workers\" in stats --json\n"
        "  +N, -N, =N  has msockd run so many more or fewer, or so many, until its configuration\n"
        "              is read again\n",
    .run = workers_run,
    .rows = workers_rows,
    .columns = worker_columns,
    .column_count = MS_ARRAY_LEN(worker_columns),
    .key = "pid",
};

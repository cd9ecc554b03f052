/* What is read at the beginning and at the end of the measured time, and what a load came to, for
 * people and as JSON. */
#include "bench/bench_load.h"

#include "common/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define REPORT_BUSY 0.9 /* a generator that takes more of a core than this is the limit itself */

const char *const bench_kinds[BENCH_KINDS] = {"plain", "json", "file"};

uint64_t
bench_clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* User and system time of all threads, also of those that have ended, in seconds; -1: there is no
 * such process. */
static double
marks_process_cpu(const char *pid, size_t len)
{
    unsigned long user = 0, system = 0;
    char path[64], line[1024] = "";
    const char *after;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%.*s/stat", len < 20 ? (int)len : 20, pid);
    f = fopen(path, "re");
    if (f == NULL)
        return -1;
    if (fgets(line, sizeof(line), f) != NULL && (after = strrchr(line, ')')) != NULL)
        (void)!sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                      &system);
    fclose(f);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double
bench_cpu_of(const char *pids)
{
    double sum = pids != NULL ? 0 : -1;

    while (sum >= 0 && pids[0] != '\0') {
        size_t n = strcspn(pids, ",");
        double cpu = marks_process_cpu(pids, n);

        sum = cpu >= 0 ? sum + cpu : -1;
        pids += n + (pids[n] == ',');
    }
    return sum;
}

int64_t
bench_flushes_of(const char *path)
{
    struct stat st;
    unsigned device_major, device_minor;
    long long flushes, found = -1;
    char line[512];
    FILE *f;

    if (path == NULL || stat(path, &st) < 0 || (f = fopen("/proc/diskstats", "re")) == NULL)
        return -1;
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line,
                   "%u %u %*s %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %lld",
                   &device_major, &device_minor, &flushes) == 3 &&
            device_major == major(st.st_dev) && device_minor == minor(st.st_dev))
            found = flushes;
    fclose(f);
    return found;
}

/* --- what it came to --- */

bool
bench_only_sends(const struct bench_options *options)
{
    return !options->speech->acknowledges && !options->want_reply &&
           options->asked.framing.kind != FRAMING_EOF;
}

/* What is true of a message that counts: "committed", "answered", "sent". */
static const char *
report_counted(const struct bench_options *options)
{
    if (options->speech->acknowledges)
        return "committed";
    return options->want_reply ? "answered" : "sent";
}

static double
report_us(const struct bench_result *result, double share)
{
    const struct bench_latency *latency = &result->latency;
    uint64_t ns =
        histogram_quantile(latency->bucket, HISTOGRAM_BUCKETS(BENCH_BITS), BENCH_BITS, share);

    return (double)(ns < latency->max ? ns : latency->max) / 1e3;
}

static double
report_rate(const struct bench_result *result)
{
    return result->seconds > 0 ? (double)result->messages / result->seconds : 0;
}

/* What went wrong: its name in JSON and for people, and how often. */
struct report_error {
    const char *key, *name;
    uint64_t count;
};
#define REPORT_ERRORS 9

static void
report_errors(const struct bench_result *r, struct report_error out[REPORT_ERRORS])
{
    const struct report_error errors[REPORT_ERRORS] = {
        {"nack1", "NACK1", r->total.nack1},
        {"nack2", "NACK2", r->total.nack2},
        {"rej", "REJ", r->total.rej},
        {"err", "ERR", r->total.err - r->shutdowns},
        {"lost", "connections lost", r->lost},
        {"connect_failures", "connect failures", r->connect_failures},
        {"bad_answers", "bad answers", r->bad_answers},
        {"bad_replies", "bad replies", r->bad_replies},
        {"unanswered", "messages without an answer", r->unanswered},
    };

    memcpy(out, errors, sizeof(errors));
}

/* A figure for each message. */
static double
report_each(const struct bench_result *result, double sum)
{
    return sum / (double)(result->messages > 0 ? result->messages : 1);
}

/* --- JSON --- */

static json_t *
report_integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *
report_counts(const struct bench_counts *counts)
{
    json_t *object = json_object();

#define X(name) json_object_set_new(object, #name, report_integer(counts->name));
    BENCH_COUNTS(X)
#undef X
    return object;
}

static json_t *
report_latency(const struct bench_result *result)
{
    const struct bench_latency *h = &result->latency;

    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "mean",
                     h->count > 0 ? (double)h->sum / (double)h->count / 1e3 : 0.0, "p50",
                     report_us(result, 0.5), "p90", report_us(result, 0.9), "p99",
                     report_us(result, 0.99), "p999", report_us(result, 0.999), "max",
                     (double)h->max / 1e3);
}

static json_t *
report_errors_json(const struct bench_result *result)
{
    struct report_error errors[REPORT_ERRORS];
    json_t *object = json_object();

    report_errors(result, errors);
    for (size_t i = 0; i < REPORT_ERRORS; i++)
        json_object_set_new(object, errors[i].key, report_integer(errors[i].count));
    return object;
}

static json_t *
report_connections(const struct bench_result *result)
{
    json_t *array = json_array();

    for (size_t i = 0; i < result->connection_count; i++) {
        json_t *object = json_object();

        json_object_set_new(object, "port", json_integer(result->connection[i].port));
        json_object_update_new(object, report_counts(&result->connection[i].counts));
        json_array_append_new(array, object);
    }
    return array;
}

/* What was asked for besides. */
static void
report_marks(json_t *object, const struct bench_options *options, const struct bench_result *result)
{
    if (options->rate > 0) {
        json_object_set_new(object, "rate", json_real(options->rate));
        json_object_set_new(object, "unsent", report_integer(result->unsent));
    }
    if (result->server_cpu >= 0) {
        json_object_set_new(object, "server_cpu", json_real(result->server_cpu / result->seconds));
        json_object_set_new(object, "cpu_us",
                            json_real(report_each(result, result->server_cpu * 1e6)));
    }
    if (result->flushes >= 0)
        json_object_set_new(object, "flushes",
                            json_real(report_each(result, (double)result->flushes)));
}

static void
report_json(const struct bench_options *options, const struct bench_result *result)
{
    json_t *object = json_object();
    double bytes = report_rate(result) * (double)options->size;

    json_object_set_new(object, "server", json_string(options->raw ? "raw" : options->url_text));
    json_object_set_new(object, "protocol", json_string(options->speech->scheme));
    json_object_set_new(object, "counted", json_string(report_counted(options)));
    json_object_set_new(object, "kind", json_string(bench_kinds[options->kind]));
    json_object_set_new(object, "size", report_integer(options->size));
    json_object_set_new(object, "connections", json_integer(options->connections));
    json_object_set_new(object, "ahead", json_integer(options->ahead));
    json_object_set_new(object, "seconds", json_real(result->seconds));
    json_object_set_new(object, "messages", report_integer(result->messages));
    json_object_set_new(object, "messages_per_second", json_real(report_rate(result)));
    json_object_set_new(object, "mb_per_second", json_real(bytes / 1e6));
    json_object_set_new(object, "latency_us", report_latency(result));
    json_object_set_new(object, "errors", report_errors_json(result));
    json_object_set_new(object, "retried", report_integer(result->retried));
    json_object_set_new(object, "reconnects", report_integer(result->reconnects));
    json_object_set_new(object, "connected", report_integer(result->connected));
    json_object_set_new(object, "generator_cpu", json_real(result->cpu));
    report_marks(object, options, result);
    json_object_set_new(object, "interrupted", json_boolean(result->interrupted));
    json_object_set_new(object, "total", report_counts(&result->total));
    if (options->per_connection)
        json_object_set_new(object, "per_connection", report_connections(result));
    if (json_dump_callback(object, text_json_write, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) <
        0)
        fputs("msock: no memory for the JSON object", stderr);
    putchar('\n');
    json_decref(object);
}

/* --- text --- */

static void
report_error_text(const struct bench_result *result)
{
    struct report_error errors[REPORT_ERRORS];
    const char *comma = "";

    report_errors(result, errors);
    printf("errors       ");
    for (size_t i = 0; i < REPORT_ERRORS; i++) {
        if (errors[i].count == 0)
            continue;
        printf("%s%s %llu", comma, errors[i].name, (unsigned long long)errors[i].count);
        comma = ", ";
    }
    printf("%s\n", *comma == '\0' ? "none" : "");
}

static void
report_connection_text(const struct bench_result *result)
{
    printf("%6s %10s %8s %8s %8s %8s %10s %14s %14s\n", "port", "acks", "nack1", "nack2", "rej",
           "err", "messages", "bytes_in", "bytes_out");
    for (size_t i = 0; i < result->connection_count; i++) {
        const struct bench_counts *c = &result->connection[i].counts;

        printf(
            "%6u %10llu %8llu %8llu %8llu %8llu %10llu %14llu %14llu\n", result->connection[i].port,
            (unsigned long long)c->acks, (unsigned long long)c->nack1, (unsigned long long)c->nack2,
            (unsigned long long)c->rej, (unsigned long long)c->err, (unsigned long long)c->messages,
            (unsigned long long)c->bytes_in, (unsigned long long)c->bytes_out);
    }
}

static void
report_text(const struct bench_options *options, const struct bench_result *result)
{
    double rate = report_rate(result);

    printf("load         %s messages of %llu bytes to %s, %u connections, %u ahead\n",
           bench_kinds[options->kind], (unsigned long long)options->size,
           options->raw ? "a bare ping-pong" : options->url_text, options->connections,
           options->ahead);
    printf("messages     %llu %s in %.2f s: %.*f/s, %.1f MB/s%s\n",
           (unsigned long long)result->messages, report_counted(options), result->seconds,
           rate < 100 ? 2 : 0, rate, rate * (double)options->size / 1e6,
           result->interrupted ? " (interrupted)" : "");
    printf("latency      p50 %.1f us, p90 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n",
           report_us(result, 0.5), report_us(result, 0.9), report_us(result, 0.99),
           report_us(result, 0.999), (double)result->latency.max / 1e3);
    report_error_text(result);
    if (options->rate > 0)
        printf("schedule     %.0f/s; %llu were due and not begun at the end\n", options->rate,
               (unsigned long long)result->unsent);
    if (result->server_cpu >= 0)
        printf("server       %.0f %% of a core, %.2f us a message\n",
               result->server_cpu / result->seconds * 100,
               report_each(result, result->server_cpu * 1e6));
    if (result->flushes >= 0)
        printf("flushes      %.5f a message\n", report_each(result, (double)result->flushes));
    printf("retried      %llu messages, %llu reconnects\n", (unsigned long long)result->retried,
           (unsigned long long)result->reconnects);
    printf("generator    %.0f %% of a core%s\n", result->cpu * 100,
           result->cpu > REPORT_BUSY ? ": it may be the limit itself" : "");
    if (options->per_connection)
        report_connection_text(result);
}

void
bench_report(const struct bench_options *options, const struct bench_result *result)
{
    if (options->json)
        report_json(options, result);
    else
        report_text(options, result);
    fflush(stdout);
}

int
bench_status(const struct bench_result *result)
{
    if (result->untrusted)
        return EX_NOPERM;
    if (result->connected == 0)
        return EX_UNAVAILABLE;
    if (result->unanswered > 0 || result->lost > 0 || result->bad_replies > 0)
        return EX_TEMPFAIL;
    return result->total.rej > 0 ? EX_DATAERR : EX_OK;
}

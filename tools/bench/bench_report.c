/* What a load came to, for people and as JSON. */
#include "bench/bench.h"
#include "bench/bench_speech.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define REPORT_BUSY 0.9 /* a generator that takes more of a core than this is the limit itself */

static const char *
report_kind(enum bench_kind kind)
{
    switch (kind) {
    case BENCH_PLAIN:
        return "plain";
    case BENCH_JSON:
        return "json";
    case BENCH_FILE:
        return "file";
    }
    return "";
}

bool
bench_only_sends(const struct bench_options *options)
{
    const char *framing = url_option(&options->url, "framing");

    return !options->speech->acknowledges && !options->want_reply &&
           (framing == NULL || strcmp(framing, "eof") != 0);
}

const char *
bench_counted(const struct bench_options *options)
{
    if (options->speech->acknowledges)
        return "committed";
    return options->want_reply ? "answered" : "sent";
}

static double
report_quantile(const struct bench_latency *latency, double share)
{
    uint64_t ns =
        histogram_quantile(latency->bucket, HISTOGRAM_BUCKETS(BENCH_BITS), BENCH_BITS, share);

    return (double)(ns < latency->max ? ns : latency->max);
}

static double
report_us(const struct bench_result *result, double share)
{
    return report_quantile(&result->latency, share) / 1e3;
}

static double
report_rate(const struct bench_result *result)
{
    return result->seconds > 0 ? (double)result->messages / result->seconds : 0;
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

    json_object_set_new(object, "acks", report_integer(counts->acks));
    json_object_set_new(object, "nack1", report_integer(counts->nack1));
    json_object_set_new(object, "nack2", report_integer(counts->nack2));
    json_object_set_new(object, "rej", report_integer(counts->rej));
    json_object_set_new(object, "err", report_integer(counts->err));
    json_object_set_new(object, "messages", report_integer(counts->messages));
    json_object_set_new(object, "bytes_in", report_integer(counts->bytes_in));
    json_object_set_new(object, "bytes_out", report_integer(counts->bytes_out));
    return object;
}

static json_t *
report_latency(const struct bench_result *result)
{
    const struct bench_latency *h = &result->latency;
    json_t *object = json_object();

    json_object_set_new(object, "mean",
                        json_real(h->count > 0 ? (double)h->sum / (double)h->count / 1e3 : 0));
    json_object_set_new(object, "p50", json_real(report_us(result, 0.5)));
    json_object_set_new(object, "p90", json_real(report_us(result, 0.9)));
    json_object_set_new(object, "p99", json_real(report_us(result, 0.99)));
    json_object_set_new(object, "p999", json_real(report_us(result, 0.999)));
    json_object_set_new(object, "max", json_real((double)h->max / 1e3));
    return object;
}

static json_t *
report_errors(const struct bench_result *result)
{
    json_t *object = json_object();

    json_object_set_new(object, "nack1", report_integer(result->total.nack1));
    json_object_set_new(object, "nack2", report_integer(result->total.nack2));
    json_object_set_new(object, "rej", report_integer(result->total.rej));
    json_object_set_new(object, "err", report_integer(result->total.err - result->shutdowns));
    json_object_set_new(object, "lost", report_integer(result->lost));
    json_object_set_new(object, "connect_failures", report_integer(result->connect_failures));
    json_object_set_new(object, "bad_answers", report_integer(result->bad_answers));
    json_object_set_new(object, "bad_replies", report_integer(result->bad_replies));
    json_object_set_new(object, "unanswered", report_integer(result->unanswered));
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
    double messages = result->messages > 0 ? (double)result->messages : 1;

    if (options->rate > 0) {
        json_object_set_new(object, "rate", json_real(options->rate));
        json_object_set_new(object, "unsent", report_integer(result->unsent));
    }
    if (result->server_cpu >= 0) {
        json_object_set_new(object, "server_cpu", json_real(result->server_cpu / result->seconds));
        json_object_set_new(object, "cpu_us", json_real(result->server_cpu * 1e6 / messages));
    }
    if (result->flushes >= 0)
        json_object_set_new(object, "flushes", json_real((double)result->flushes / messages));
}

static void
report_json(const struct bench_options *options, const struct bench_result *result)
{
    json_t *object = json_object();
    double bytes = report_rate(result) * (double)options->size;

    json_object_set_new(object, "server", json_string(options->raw ? "raw" : options->url_text));
    json_object_set_new(object, "protocol", json_string(options->speech->scheme));
    json_object_set_new(object, "counted", json_string(bench_counted(options)));
    json_object_set_new(object, "kind", json_string(report_kind(options->kind)));
    json_object_set_new(object, "size", report_integer(options->size));
    json_object_set_new(object, "connections", json_integer(options->connections));
    json_object_set_new(object, "ahead", json_integer(options->ahead));
    json_object_set_new(object, "seconds", json_real(result->seconds));
    json_object_set_new(object, "messages", report_integer(result->messages));
    json_object_set_new(object, "messages_per_second", json_real(report_rate(result)));
    json_object_set_new(object, "mb_per_second", json_real(bytes / 1e6));
    json_object_set_new(object, "latency_us", report_latency(result));
    json_object_set_new(object, "errors", report_errors(result));
    json_object_set_new(object, "retried", report_integer(result->retried));
    json_object_set_new(object, "reconnects", report_integer(result->reconnects));
    json_object_set_new(object, "connected", report_integer(result->connected));
    json_object_set_new(object, "generator_cpu", json_real(result->cpu));
    report_marks(object, options, result);
    json_object_set_new(object, "interrupted", json_boolean(result->interrupted));
    json_object_set_new(object, "total", report_counts(&result->total));
    if (options->per_connection)
        json_object_set_new(object, "per_connection", report_connections(result));
    if (json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) < 0)
        fputs("msock: no memory for the JSON object", stderr);
    putchar('\n');
    json_decref(object);
}

/* --- text --- */

static void
report_error_text(const struct bench_result *result)
{
    const struct {
        const char *name;
        uint64_t count;
    } errors[] = {
        {"NACK1", result->total.nack1},
        {"NACK2", result->total.nack2},
        {"REJ", result->total.rej},
        {"ERR", result->total.err - result->shutdowns},
        {"connections lost", result->lost},
        {"connect failures", result->connect_failures},
        {"bad answers", result->bad_answers},
        {"bad replies", result->bad_replies},
        {"messages without an answer", result->unanswered},
    };
    const char *comma = "";

    printf("errors       ");
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
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
           report_kind(options->kind), (unsigned long long)options->size,
           options->raw ? "a bare ping-pong" : options->url_text, options->connections,
           options->ahead);
    printf("messages     %llu %s in %.2f s: %.*f/s, %.1f MB/s%s\n",
           (unsigned long long)result->messages, bench_counted(options), result->seconds,
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
               result->server_cpu * 1e6 / (double)(result->messages > 0 ? result->messages : 1));
    if (result->flushes >= 0)
        printf("flushes      %.5f a message\n",
               (double)result->flushes / (double)(result->messages > 0 ? result->messages : 1));
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
    if (result->connected == 0)
        return EX_UNAVAILABLE;
    if (result->unanswered > 0 || result->lost > 0 || result->bad_replies > 0)
        return EX_TEMPFAIL;
    return result->total.rej > 0 ? EX_DATAERR : EX_OK;
}

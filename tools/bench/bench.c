/* msock bench: a load generator. One thread and epoll. In a closed loop a connection sends its next
 * message when one is answered, so that a slow server is not buried but measured. With --rate
 * messages are due on schedule, and a server that stalls is seen. */
#include "bench/bench_load.h"
#include "common/dial.h"
#include "common/fd.h"
#include "msock/command.h"

#include <errno.h>
#include <float.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define BENCH_SPARE_DESCRIPTORS 16u
#define BENCH_SECONDS           5.0
#define BENCH_WARMUP            0.2

static const char bench_help[] =
    "usage: msock bench [OPTION...]\n\n"
    "Loads a server and measures it: a connection sends its next message when one is\n"
    "answered, or with --rate on schedule. Latency is from the first byte of a message,\n"
    "or the moment when it was due, to its final answer. Over tinyproto and frame\n"
    "nothing is answered but by a reply: without --reply on, a message counts, and its\n"
    "latency ends, when the system has taken it.\n\n"
    "examples:\n"
    "  msock bench --kind json --size 256 --seconds 10\n"
    "  msock bench -c 200 --ahead 16 --json | jq .messages_per_second\n"
    "  msock bench -c 8 --kind file --size 64K --messages 2000\n"
    "  msock bench -u 'cnp://127.0.0.1:8000?mode=burst'\n"
    "  msock bench -u frame://127.0.0.1:8000 --reply on\n"
    "  msock bench --rate 5000 -c 20\n"
    "  msock bench --raw --size 256\n"
    "  msock bench --idle -c 10000 --bind-from 4 < fifo\n\n"
    "options:\n"
    "  -u, --url URL          the server, over msp, tinyproto, cnp or frame; default\n"
    "                         $MSOCK_URL, else msp://127.0.0.1:8000. redis (XADD),\n"
    "                         beanstalkd (put), http (GET /idle), post (POST /idle), mqtt\n"
    "                         (QoS 1) and raw (two ACKs) are spoken for comparison; all\n"
    "                         of them inside TLS too, as redis+tls://...\n" SESSION_TLS_HELP
    "  -c, --connections N    default 50\n"
    "  -s, --size BYTES       of a message; K, M and G may follow; default 256\n"
    "  -n, --messages N       in all, or\n"
    "  -d, --seconds S        for so long; default 5\n"
    "      --warmup S         before the measured time with --seconds; default 0.2\n"
    "      --rate N           send N messages a second in all, on schedule: latency is from\n"
    "                         the moment when a message was due, sent late or not\n"
    "  -k, --kind KIND        plain (default), json or file; a file is stored as\n"
    "                         bench/<run>/<connection>/<number>, over msp only\n"
    "      --ahead N          messages in flight on a connection; default 1; over msp 0\n"
    "                         waits for the answer to the body before the trailer is\n"
    "                         sent; over cnp the window, in packets\n"
    "      --ids              give each message an id of its own (msp)\n"
    "      --late-digest      send the SHA-256 behind the message (msp)\n"
    "      --reply on|off     wait for replies and check them: over msp their sums,\n"
    "                         else they have to be the message; default off\n"
    "      --retry on|off     reconnect when a connection is lost, and send again what\n"
    "                         has no final answer; default on\n"
    "      --timeout SECONDS  without a byte, and a connection is lost; without a\n"
    "                         success, and it is given up; default 30\n"
    "      --bind-from N      connect from 127.0.0.2 and the next N - 1 addresses in turn\n"
    "      --hold             at the end print \"ready N\" and keep the N connections open\n"
    "                         until standard input ends\n"
    "      --idle             send one message on each connection, and --hold\n"
    "      --blocks           send blocks of bytes made beforehand, and count answers without\n"
    "                         looking into them: what costs the generator the least (frame\n"
    "                         and tinyproto: of a server that echoes)\n"
    "      --beside N         N connections more, which send one message and then nothing\n"
    "      --members N        publish to a broadcast over frame, and count what N members\n"
    "                         get\n"
    "      --cpu-of PID,...   also the CPU time of these processes\n"
    "      --flushes-of PATH  also the flushes of the disk under PATH\n"
    "      --jansson          no server: how many of these documents jansson alone parses\n"
    "      --pong PORT:N:M    be the server of --raw: M bytes for N, until a signal\n"
    "      --raw              measure a bare ping-pong of the same bytes instead, by a\n"
    "                         server of its own: the ceiling of this machine\n"
    "      --per-connection   also what each connection counted, with its local port\n"
    "  -j, --json             one JSON object\n"
    "  -h, --help             this text\n\n"
    "exit status: 0 all committed (or sent), 64 usage, 65 some refused, 69 not reachable,\n"
    "75 some lost or without an answer, 77 a certificate was not taken\n";

/* --- options --- */

/* Negative numbers of seconds stand for "not given" until here. */
static const char *
bench_conflict(const struct bench_options *options)
{
    if (options->messages > 0 && options->seconds >= 0)
        return "--messages and --seconds exclude each other";
    if (options->idle && (options->messages > 0 || options->seconds >= 0 || options->raw))
        return "--idle sends one message a connection: no --messages, --seconds or --raw";
    if (options->warmup_s >= 0 && (options->messages > 0 || options->idle))
        return "--warmup goes with --seconds only";
    if (options->kind == BENCH_JSON && options->size == 0)
        return "an empty message is not JSON: --size wants to be at least 1";
    if (options->timeout_s <= 0)
        return "--timeout wants to be above 0";
    if (options->rate > 0 && (options->idle || options->members > 0))
        return "--rate is about messages that are answered: no --idle, --members";
    if (options->members > 0 && (strcmp(options->url.scheme, "frame") != 0 || options->ahead == 0))
        return "--members are of a broadcast over frame, with --ahead 1 or more";
    if (options->raw && options->blocks)
        return "--raw sends blocks already: no --blocks";
    return NULL;
}

/* False where the URL cannot be used, which was said. With --raw it is not. */
static bool
bench_find_speech(struct bench_options *options)
{
    const char *text = options->raw ? "raw://127.0.0.1" : options->url_text;
    char error[URL_ERROR_LEN];

    if (url_parse_servers(text, DEFAULT_PORT, &options->url, error) < 0) {
        say_error("%s", error);
        return false;
    }
    options->has_url = true;
    options->speech = bench_speech_of(options->url.scheme, options->blocks);
    if (options->speech == NULL) {
        say_error(
            "\"%.80s\": what can be spoken is msp, tinyproto, cnp and frame, and for comparison"
            " redis, beanstalkd, http, post, mqtt and raw",
            text);
        return false;
    }
    return true;
}

/* What the library would refuse in the URL, and key_file. Returns 0, or -1 with a sentence. */
static int
bench_read_asked(struct bench_options *options, char reason[CLIENT_REASON_LEN])
{
    const struct proto_ops *ops = proto_find(options->url.scheme);

    if (url_option(&options->url, "key_file") != NULL) {
        snprintf(reason, CLIENT_REASON_LEN,
                 "bench sends nothing sealed: leave key_file out of the URL");
        return -1;
    }
    if (dial_read_pick(&options->url, &options->pick) < 0) {
        snprintf(reason, CLIENT_REASON_LEN, "pick is first, random or spread, not \"%.60s\"",
                 url_option(&options->url, "pick"));
        return -1;
    }
    if (ops != NULL)
        return client_url_read(ops, &options->url, BENCH_MESSAGE_MAX, &options->asked, reason);
    if (options->url.option_count == 0)
        return 0;
    snprintf(reason, CLIENT_REASON_LEN, "%s has no option \"%.60s\"", options->url.scheme,
             options->url.options[0].name);
    return -1;
}

static int
bench_complete(struct bench_options *options)
{
    char reason[CLIENT_REASON_LEN], error[TLS_ERROR_LEN];
    const char *conflict;

    if (!bench_find_speech(options))
        return -1;
    conflict = bench_conflict(options);
    if (conflict == NULL && bench_read_asked(options, reason) < 0)
        conflict = reason;
    if (conflict == NULL)
        conflict = options->speech->complete(options);
    if (conflict == NULL && bench_secure(options, error) < 0)
        conflict = error;
    if (conflict != NULL) {
        say_error("%s", conflict);
        return -1;
    }
    if (options->seconds < 0)
        options->seconds = BENCH_SECONDS;
    if (options->warmup_s < 0)
        options->warmup_s = options->messages > 0 || options->idle ? 0 : BENCH_WARMUP;
    return 0;
}

static int
bench_kind_of(const char *name, enum bench_kind *out)
{
    for (unsigned i = 0; i < BENCH_KINDS; i++) {
        if (strcmp(name, bench_kinds[i]) != 0)
            continue;
        *out = (enum bench_kind)i;
        return 0;
    }
    say_error("--kind wants plain, json or file, not '%s'", name);
    return -1;
}

/* Returns OPTIONS_GO_ON, or an exit status. */
static int
bench_parse(struct bench_options *o, int argc, char **argv)
{
    const char *kind = "plain";
    const struct option_row rows[] = {
        {"url", 'u', OPTION_TEXT, &o->url_text, 0, 0, NULL},
        SESSION_TLS_ROWS(&o->tls_said),
        {"connections", 'c', OPTION_COUNT, &o->connections, 1, BENCH_CONNECTIONS_MAX, NULL},
        {"size", 's', OPTION_NUMBER, &o->size, 0, BENCH_SIZE_MAX, "bytes up to 16G"},
        {"messages", 'n', OPTION_NUMBER, &o->messages, 1, (double)(UINT64_MAX / 2),
         "a number above 0"},
        {"seconds", 'd', OPTION_SECONDS, &o->seconds, 0, 1e6, NULL},
        {"warmup", 0, OPTION_SECONDS, &o->warmup_s, 0, 1e6, NULL},
        {"kind", 'k', OPTION_TEXT, &kind, 0, 0, NULL},
        {"ahead", 0, OPTION_COUNT, &o->ahead, 0, BENCH_AHEAD_MAX, NULL},
        {"rate", 0, OPTION_SECONDS, &o->rate, DBL_TRUE_MIN, 1e9, "messages a second, above 0"},
        {"blocks", 0, OPTION_FLAG, &o->blocks, 0, 0, NULL},
        {"beside", 0, OPTION_COUNT, &o->beside, 0, BENCH_CONNECTIONS_MAX, NULL},
        {"members", 0, OPTION_COUNT, &o->members, 2, BENCH_CONNECTIONS_MAX, NULL},
        {"cpu-of", 0, OPTION_TEXT, &o->pids, 0, 0, NULL},
        {"flushes-of", 0, OPTION_TEXT, &o->flush, 0, 0, NULL},
        {"pong", 0, OPTION_TEXT, &o->pong, 0, 0, NULL},
        {"jansson", 0, OPTION_FLAG, &o->jansson, 0, 0, NULL},
        {"ids", 0, OPTION_FLAG, &o->ids, 0, 0, NULL},
        {"late-digest", 0, OPTION_FLAG, &o->late_digest, 0, 0, NULL},
        {"reply", 0, OPTION_SWITCH, &o->want_reply, 0, 0, NULL},
        {"retry", 0, OPTION_SWITCH, &o->retry, 0, 0, NULL},
        {"timeout", 0, OPTION_SECONDS, &o->timeout_s, 0, 1e6, NULL},
        {"bind-from", 0, OPTION_COUNT, &o->bind_from, 1, BENCH_SOURCES_MAX, NULL},
        {"hold", 0, OPTION_FLAG, &o->hold, 0, 0, NULL},
        {"idle", 0, OPTION_FLAG, &o->idle, 0, 0, NULL},
        {"raw", 0, OPTION_FLAG, &o->raw, 0, 0, NULL},
        {"per-connection", 0, OPTION_FLAG, &o->per_connection, 0, 0, NULL},
        {"json", 'j', OPTION_FLAG, &o->json, 0, 0, NULL},
    };
    int status = options_read(argc, argv, "bench", bench_help, rows, MS_ARRAY_LEN(rows));

    if (status != OPTIONS_GO_ON)
        return status;
    if (bench_kind_of(kind, &o->kind) < 0)
        return say_usage("bench");
    if (optind < argc) {
        say_error("there is nothing to give besides options: '%s'", argv[optind]);
        return say_usage("bench");
    }
    o->hold |= o->idle;
    o->ahead_said = o->ahead != UINT32_MAX;
    o->size_said = o->size != UINT64_MAX;
    if (!o->ahead_said)
        o->ahead = 1;
    if (!o->size_said)
        o->size = 256;
    return o->pong != NULL || bench_complete(o) == 0 ? OPTIONS_GO_ON : say_usage("bench");
}

/* --- running --- */

static int
bench_raise_limit(const struct bench_options *options)
{
    unsigned long limit = fd_raise_limit();

    if (limit >= (unsigned long)options->connections + options->beside + options->members +
                     BENCH_SPARE_DESCRIPTORS)
        return 0;
    say_error("%u connections need more descriptors than the limit of %lu (ulimit -Hn)",
              options->connections, limit);
    return -1;
}

static int
bench_run_at(const struct bench_options *options, const struct endpoint *ep)
{
    struct bench_result *result = ms_calloc(1, sizeof(*result));
    int rc;

    if (bench_load_run(options, ep, result) < 0) {
        say_error("cannot begin: %s", strerror(errno != 0 ? errno : ENOMEM));
        free(result);
        return EX_OSERR;
    }
    rc = bench_status(result);
    if (rc == EX_NOPERM || (rc == EX_UNAVAILABLE && result->why[0] != '\0'))
        say_error("%s: %s", options->url_text, result->why);
    else if (rc == EX_UNAVAILABLE)
        say_error("cannot connect to %s: %s", options->url_text,
                  strerror(result->connect_error != 0 ? result->connect_error : EINTR));
    else
        bench_report(options, result);
    free(result->connection);
    free(result);
    return rc;
}

/* Bytes that msp puts around a message of one packet without an id. */
#define BENCH_MSP_AROUND 60u
#define BENCH_TWO_ACKS   10u

static int
bench_run_raw(struct bench_options *options)
{
    struct pingpong server;
    struct endpoint ep;
    char error[URL_ERROR_LEN];
    int rc;

    if (pingpong_start(0, (size_t)options->size + BENCH_MSP_AROUND, BENCH_TWO_ACKS, &server) < 0) {
        say_error("cannot start the server of --raw: %s", strerror(errno));
        return EX_OSERR;
    }
    options->url.port = server.port;
    rc = endpoint_resolve(&options->url, &ep, error) < 0 ? EX_OSERR : bench_run_at(options, &ep);
    pingpong_stop(&server);
    return rc;
}

/* PORT:REQUEST:REPLY */
static int
bench_run_pong(const char *text)
{
    unsigned port;
    unsigned long long request, reply;
    char rest;

    if (sscanf(text, "%5u:%10llu:%10llu%c", &port, &request, &reply, &rest) != 3 || port == 0 ||
        port > 65535 || request == 0 || reply == 0) {
        say_error("--pong wants PORT:BYTES:BYTES, not '%s'", text);
        return EX_USAGE;
    }
    if (pingpong_serve((uint16_t)port, (size_t)request, (size_t)reply) < 0)
        say_error("cannot serve on port %u: %s", port, strerror(errno));
    return EX_OSERR;
}

/* One document after the other, as a worker parses them. */
static int
bench_run_jansson(const struct bench_options *options)
{
    uint8_t *text = malloc((size_t)options->size + 1);
    uint64_t began = bench_now_ns(), passed = 0, count = 0;
    bool parsed = text != NULL;

    if (parsed)
        document_json(text, (size_t)options->size);
    while (parsed && (double)passed < options->seconds * 1e9) {
        json_t *value = json_loadb((const char *)text, (size_t)options->size,
                                   JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

        parsed = value != NULL;
        json_decref(value);
        count++;
        passed = bench_now_ns() - began;
    }
    free(text);
    if (!parsed)
        return EX_OSERR;
    printf(options->json ? "{\"messages_per_second\":%.0f}\n" : "%.0f documents/s\n",
           (double)count / (double)passed * 1e9);
    return EX_OK;
}

#define BENCH_DIAL_PAUSE_NS 50000000

/* Finds the address that all connections are made to: where there may be several, the first to
 * which one can be made, which is reset then. Tries again like the load itself. NULL with a
 * sentence in the dialer. */
static const struct endpoint *
bench_find(const struct bench_options *options, struct dialer *d)
{
    const struct timespec pause = {.tv_nsec = BENCH_DIAL_PAUSE_NS};
    uint64_t now = clock_mono_us(), deadline = now + (uint64_t)(options->timeout_s * 1e6);
    const struct endpoint *only = dial_only(d);

    if (only != NULL)
        return only;
    for (;; now = clock_mono_us()) {
        unsigned ms = now < deadline ? (unsigned)((deadline - now) / 1000) + 1 : 1;
        int fd = -1;

        if (dial_connect(d, ms, &fd) == 0) {
            dial_reset(&fd);
            return dial_endpoint(d);
        }
        if (errno != EHOSTUNREACH || !options->retry || clock_mono_us() >= deadline)
            return NULL;
        nanosleep(&pause, NULL);
    }
}

static int
bench_run_found(const struct bench_options *options, const struct endpoint *ep)
{
    if (options->bind_from > 0 && ep->addr.ss_family != AF_INET) {
        say_error("--bind-from needs a server with an IPv4 address");
        return EX_USAGE;
    }
    return options->members > 0 ? bench_members(options, ep) : bench_run_at(options, ep);
}

static int
bench_run(struct bench_options *options)
{
    const struct endpoint *ep;
    struct dialer d;
    int rc;

    if (options->jansson)
        return bench_run_jansson(options);
    if (bench_raise_limit(options) < 0)
        return EX_OSERR;
    if (options->raw)
        return bench_run_raw(options);
    if (dialer_init(&d, &options->url, options->pick) < 0)
        return EX_OSERR;
    ep = bench_find(options, &d);
    if (ep == NULL)
        say_error("%s", d.error);
    if (options->server_name == NULL)
        options->server_name = d.servers[d.last].at.host;
    rc = ep != NULL ? bench_run_found(options, ep) : EX_UNAVAILABLE;
    dialer_fini(&d);
    return rc;
}

int
command_bench(int argc, char **argv, const char *url)
{
    struct bench_options options = {.url_text = url,
                                    .connections = 50,
                                    .ahead = UINT32_MAX, /* not given */
                                    .size = UINT64_MAX,
                                    .seconds = -1,
                                    .warmup_s = -1,
                                    .timeout_s = 30,
                                    .retry = true};
    int rc = bench_parse(&options, argc, argv);

    if (rc == OPTIONS_GO_ON)
        rc = options.pong != NULL ? bench_run_pong(options.pong) : bench_run(&options);
    if (options.has_url)
        url_fini(&options.url);
    tls_context_destroy(options.tls);
    return rc;
}

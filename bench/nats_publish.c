/* Publishes to a stream of JetStream by the asynchronous publisher of libnats, as fast as it goes
 * with so many messages under way: what handler=nats stands beside.
 *
 *   nats_publish URL STREAM HEADERS SIZE UNDER-WAY SECONDS
 *
 * HEADERS says what goes with each message: "none", "id" (a Nats-Msg-Id, without which no message
 * that is sent again is known), or "all" (as many as msockd sends). */
#include <inttypes.h>
#include <nats/nats.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WARM_UP_S 0.2

static volatile bool failed;

static void
check(natsStatus s, const char *what)
{
    if (s == NATS_OK)
        return;
    fprintf(stderr, "nats_publish: %s: %s: %s\n", what, natsStatus_GetText(s),
            nats_GetLastError(NULL));
    exit(1);
}

static void
on_error(jsCtx *js, jsPubAckErr *error, void *arg)
{
    (void)js;
    (void)arg;
    fprintf(stderr, "nats_publish: %s\n", error->ErrText);
    failed = true;
}

static double
now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
make_stream(jsCtx *js, const char *name, const char *subject)
{
    jsStreamConfig config;
    jsErrCode code = 0;

    jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = (const char *[1]){subject};
    config.SubjectsLen = 1;
    config.Duplicates = 120000000000;
    if (js_GetStreamInfo(NULL, js, name, NULL, &code) != NATS_OK)
        check(js_AddStream(NULL, js, &config, NULL, &code), "the stream");
}

/* Those of msockd, with values that are as long. */
static void
add_headers(natsMsg *msg)
{
    static const char *const headers[][2] = {
        {"Nats-Expected-Stream", "direct"},
        {"Msock-Id", "01M8MR1V83J11GV44AYPK61KA4"},
        {"Msock-Time", "2026-11-29T22:50:44.839118Z"},
        {"Msock-Kind", "plain"},
        {"Msock-Size", "256"},
        {"Msock-SHA256", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"},
        {"Msock-Listener", "msp://127%2E0%2E0%2E1:7901"},
        {"Msock-Proto", "msp"},
        {"Msock-Peer", "127.0.0.1:50412"},
    };

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        check(natsMsgHeader_Set(msg, headers[i][0], headers[i][1]), "a header");
}

static void
publish(jsCtx *js, const char *subject, const char *headers, const char *body, int size, uint64_t n)
{
    static uint64_t run;
    char id[64];
    jsPubOptions options;
    natsMsg *msg = NULL;

    if (run == 0)
        run = (uint64_t)nats_NowInNanoSeconds();
    check(natsMsg_Create(&msg, subject, NULL, body, size), "a message");
    jsPubOptions_Init(&options);
    snprintf(id, sizeof(id), "%" PRIx64 "-%" PRIu64, run, n);
    if (strcmp(headers, "none") != 0)
        options.MsgId = id;
    if (strcmp(headers, "all") == 0)
        add_headers(msg);
    check(js_PublishMsgAsync(js, &msg, &options), "publishing");
    natsMsg_Destroy(msg);
}

int
main(int argc, char **argv)
{
    natsConnection *nc = NULL;
    jsCtx *js = NULL;
    jsOptions options;
    uint64_t n = 0, from = 0;
    double begin_s, end_s, from_s = 0;
    char *body;
    int size;

    if (argc != 7) {
        fprintf(stderr, "usage: nats_publish URL STREAM HEADERS SIZE UNDER-WAY SECONDS\n");
        return 64;
    }
    size = atoi(argv[4]);
    body = calloc(1, (size_t)size + 1);
    if (body == NULL)
        return 1;
    memset(body, 'x', (size_t)size);
    check(natsConnection_ConnectTo(&nc, argv[1]), "connecting");
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = atoll(argv[5]);
    options.PublishAsync.StallWait = 10000;
    options.PublishAsync.ErrHandler = on_error;
    check(natsConnection_JetStream(&js, nc, &options), "JetStream");
    make_stream(js, argv[2], argv[2]);
    begin_s = now_s();
    end_s = begin_s + WARM_UP_S + atof(argv[6]);
    while (now_s() < end_s && !failed) {
        if (from_s == 0 && now_s() >= begin_s + WARM_UP_S) {
            from = n;
            from_s = now_s();
        }
        publish(js, argv[2], argv[3], body, size, n++);
    }
    end_s = now_s();
    check(js_PublishAsyncComplete(js, NULL), "the last answers");
    if (failed)
        return 1;
    printf("{\"messages_per_second\":%.0f}\n", (double)(n - from) / (end_s - from_s));
    (void)js_PurgeStream(js, argv[2], NULL, NULL);
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    nats_Close();
    free(body);
    return 0;
}

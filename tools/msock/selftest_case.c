#include "selftest_case.h"

#include "listen_url.h"

#include "msock_server.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASE_WAIT_MS  10000
#define CASE_DRAIN_MS 1000
#define CASE_SIZE_MAX 300000

static const size_t case_sizes[] = {0, 1, 1998, 1999, 65536, CASE_SIZE_MAX};

struct case_run {
    const struct selftest_case *c;
    msock_server *server;
    msock *client;
    pthread_t thread;
    char *body; /* CASE_SIZE_MAX bytes without any delimiter */
    struct selftest_result result;
};

static bool
case_fail(struct case_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool
case_fail(struct case_run *run, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(run->result.error, sizeof(run->result.error), format, args);
    va_end(args);
    return false;
}

/* --- the server --- */

static void
case_message(void *arg, msock_server *s, msock_message *m)
{
    const struct case_run *run = arg;
    msock_conn *conn = msock_message_conn(m);
    size_t n;
    const char *data = msock_message_data(m, &n);
    char *copy = malloc(n + 1);

    (void)s;
    if (data == NULL || copy == NULL) {
        msock_message_fail(m, "no memory");
    } else {
        memcpy(copy, data, n);
        msock_message_commit(m, copy, n);
        if (run->c->pushes && conn != NULL)
            (void)msock_conn_write(conn, copy, n, CASE_WAIT_MS);
    }
    free(copy);
}

static void *
case_serve(void *arg)
{
    static const struct msock_server_callbacks callbacks = {.message = case_message};
    struct case_run *run = arg;

    (void)msock_server_run(run->server, &callbacks, run, CASE_DRAIN_MS);
    return NULL;
}

/* PROTOCOL://ADDRESS?OPTIONS with the key. Returns a string to be freed, or NULL. */
static char *
case_url(const struct selftest_case *c, const char *protocol, const char *address,
         const char *options, const char *key)
{
    char url[256];

    snprintf(url, sizeof(url), "%s://%s%s%s", protocol, address, options != NULL ? "?" : "",
             options != NULL ? options : "");
    return listen_url_with_key(url, c->sealed ? key : NULL);
}

static bool
case_listen(struct case_run *run, const char *key)
{
    char *url = case_url(run->c, run->c->listen, "127.0.0.1:0", run->c->listen_options, key);
    bool ok = url != NULL && msock_server_add_listener(run->server, url) == MSOCK_OK;

    free(url);
    if (!ok)
        return case_fail(run, "cannot listen: %s", msock_server_error(run->server));
    if (pthread_create(&run->thread, NULL, case_serve, run) != 0)
        return case_fail(run, "cannot start a thread");
    return true;
}

/* --- the client --- */

static bool
case_open(struct case_run *run, const char *key)
{
    char *url = case_url(run->c, run->c->client, msock_server_address(run->server, 0),
                         run->c->client_options, key);
    char error[256] = "no memory";

    if (url != NULL && msock_url_error(url, error, sizeof(error)) == MSOCK_OK)
        run->client = msock_open(url);
    free(url);
    if (run->client == NULL)
        return case_fail(run, "%s", error);
    msock_set_timeouts(run->client, CASE_WAIT_MS, CASE_WAIT_MS);
    msock_set_retries(run->client, 0, 1, 1);
    msock_set_want_reply(run->client, 1);
    return true;
}

static bool
case_same(const struct case_run *run, const void *data, size_t n, size_t size)
{
    return data != NULL && n == size && memcmp(data, run->body, n) == 0;
}

static bool
case_exchange(struct case_run *run, size_t size)
{
    const void *data;
    size_t n;

    if (msock_send(run->client, run->body, size) != MSOCK_OK)
        return case_fail(run, "%zu bytes: %s", size, msock_error(run->client));
    data = msock_reply(run->client, &n);
    if (!case_same(run, data, n, size))
        return case_fail(run, "%zu bytes: the reply is not the message", size);
    if (run->c->pushes && msock_recv(run->client, CASE_WAIT_MS, &data, &n) != MSOCK_OK)
        return case_fail(run, "%zu bytes, sent unasked: %s", size, msock_error(run->client));
    if (run->c->pushes && !case_same(run, data, n, size))
        return case_fail(run, "%zu bytes, sent unasked, are not the message", size);
    run->result.messages++;
    run->result.bytes += size;
    return true;
}

static bool
case_exchanges(struct case_run *run)
{
    if (run->c->fixed != 0)
        return case_exchange(run, run->c->fixed) && case_exchange(run, run->c->fixed);
    for (size_t i = 0; i < sizeof(case_sizes) / sizeof(case_sizes[0]); i++)
        if ((case_sizes[i] > 0 || !run->c->no_empty) && !case_exchange(run, case_sizes[i]))
            return false;
    return true;
}

struct selftest_result
selftest_case_run(const struct selftest_case *c, const char *key)
{
    struct case_run run = {.c = c, .server = msock_server_create(), .body = malloc(CASE_SIZE_MAX)};

    if (run.server == NULL || run.body == NULL) {
        (void)case_fail(&run, "no memory or no descriptors");
    } else {
        for (size_t i = 0; i < CASE_SIZE_MAX; i++)
            run.body[i] = (char)('a' + i % 26);
        if (case_listen(&run, key)) {
            if (case_open(&run, key))
                (void)case_exchanges(&run);
            msock_close(run.client);
            msock_server_stop(run.server);
            pthread_join(run.thread, NULL);
        }
    }
    msock_server_destroy(run.server);
    free(run.body);
    return run.result;
}

/* Does what messages tell it to, and writes down what it was called for in good_trace, which the
 * tests look at. A message is a word and what belongs to it: "reply hello". */
#include <msock_module.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct good {
    const struct msock_module_host *host;
    struct msock_module_token *last_token; /* of the last message, settled or not */
    struct msock_module_conn *last_conn;
    int waits; /* the last message is to be settled later */
};

extern char good_trace[4096];
char good_trace[4096];

static char ann[] = "Ann", bob[] = "Bob";

static void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void
trace(const char *format, ...)
{
    size_t len = strlen(good_trace);
    va_list ap;

    va_start(ap, format);
    vsnprintf(good_trace + len, sizeof(good_trace) - len, format, ap);
    va_end(ap);
}

static const char *
address(const struct good *g, const struct msock_module_conn *conn)
{
    struct msock_module_peer peer;

    if (conn == NULL)
        return "nobody";
    g->host->peer(g->host->ctx, conn, &peer);
    return peer.address;
}

static int
good_start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    struct good *g = calloc(1, sizeof(*g));

    (void)error;
    (void)error_len;
    if (g == NULL)
        return -1;
    g->host = host;
    *state_out = g;
    trace("start %u/%u %s %s;", host->abi, host->worker, host->data_dir, host->args);
    return 0;
}

static void
good_conn_open(void *state, struct msock_module_conn *conn, int moved)
{
    struct good *g = state;
    size_t n;
    const char *kept = g->host->kept(g->host->ctx, conn, &n);

    trace("open %s%s%s%s;", address(g, conn), moved ? " moved" : "", kept != NULL ? " " : "",
          kept != NULL ? kept : "");
    if (moved)
        g->host->push(g->host->ctx, conn, "welcome", 7);
    g->last_conn = conn;
}

static void
good_conn_close(void *state, struct msock_module_conn *conn, int moved)
{
    struct good *g = state;
    int pushed = g->host->push(g->host->ctx, conn, "bye", 3);
    struct msock_module_conn *other = NULL;
    unsigned others = 0;

    while ((other = g->host->next_conn(g->host->ctx, other)) != NULL)
        others++;
    trace("close %s%s %s %d %u;", address(g, conn), moved ? " moved" : "",
          (const char *)g->host->data(g->host->ctx, conn), pushed, others);
}

/* The addresses of all connections, and of those that it has named with "name". */
static void
good_walk(const struct good *g, struct msock_module_token *token)
{
    const struct msock_module_host *host = g->host;
    struct msock_module_conn *conn = NULL;
    char list[256] = "";
    size_t len = 0;

    while ((conn = host->next_conn(host->ctx, conn)) != NULL) {
        const char *name = host->data(host->ctx, conn);

        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s%s ", address(g, conn),
                                name != NULL ? "=" : "", name != NULL ? name : "");
    }
    host->reply(host->ctx, token, list, len);
}

static void
good_keep(const struct good *g, const struct msock_module_message *m, const char *text)
{
    const struct msock_module_host *host = g->host;
    size_t n;
    const void *kept;

    if (strcmp(text, "much") == 0)
        trace("keep %d;", host->keep(host->ctx, m->conn, host, MSOCK_MODULE_KEEP_MAX + 1));
    else if (strcmp(text, "tail") == 0 && (kept = host->kept(host->ctx, m->conn, &n)) != NULL)
        trace("keep %d;", host->keep(host->ctx, m->conn, (const char *)kept + 1, n - 1));
    else
        trace("keep %d;", host->keep(host->ctx, m->conn, text, strlen(text)));
    kept = host->kept(host->ctx, m->conn, &n);
    trace("kept %s;", kept != NULL ? (const char *)kept : "nothing");
}

/* What is wrong with a module, on purpose. */
static enum msock_module_result
good_misuse(struct good *g, const struct msock_module_message *m, const char *text)
{
    const struct msock_module_host *host = g->host;
    struct msock_module_conn *gone = g->last_conn;

    if (strcmp(text, "result") == 0)
        return (enum msock_module_result)42;
    if (strcmp(text, "settle result") == 0)
        host->settle(host->ctx, m->token, MSOCK_MODULE_LATER, NULL);
    if (strcmp(text, "twice") == 0) {
        host->settle(host->ctx, m->token, MSOCK_MODULE_COMMIT, NULL);
        host->settle(host->ctx, m->token, MSOCK_MODULE_FAIL, "not this");
    }
    if (strcmp(text, "settle and return") == 0) {
        host->settle(host->ctx, m->token, MSOCK_MODULE_REFUSE, "the first one counts");
        return MSOCK_MODULE_COMMIT;
    }
    if (strcmp(text, "null") == 0) {
        host->reply(host->ctx, m->token, NULL, 5);
        trace("null %d %d %d;", host->push(host->ctx, m->conn, NULL, 5),
              host->broadcast(host->ctx, NULL, NULL, 5), host->keep(host->ctx, m->conn, NULL, 5));
        return MSOCK_MODULE_COMMIT;
    }
    if (strcmp(text, "long reply") == 0) {
        host->reply(host->ctx, m->token, "", (size_t)MSOCK_MODULE_REPLY_MAX + 1);
        return MSOCK_MODULE_COMMIT;
    }
    if (strcmp(text, "gone") == 0) {
        size_t n;

        host->set_data(host->ctx, gone, g);
        host->disconnect(host->ctx, gone);
        trace("gone '%s' %d %d %d %d %d %d;", address(g, gone), host->push(host->ctx, gone, "x", 1),
              host->keep(host->ctx, gone, "x", 1), host->kept(host->ctx, gone, &n) == NULL,
              host->data(host->ctx, gone) == NULL, host->next_conn(host->ctx, gone) == NULL,
              host->broadcast(host->ctx, gone, "y", 1));
        return MSOCK_MODULE_COMMIT;
    }
    return MSOCK_MODULE_LATER;
}

static void
good_note(struct good *g, const struct msock_module_message *m)
{
    trace("message %s %.*s/%zu %c %s/%zu %d %02x;", address(g, m->conn),
          m->size < 40 ? (int)m->size : 40, (const char *)m->data, m->size, m->kind, m->id,
          m->id_len, m->wants_reply, m->sha256[0]);
}

/* For the connection, and all others. */
static enum msock_module_result
good_connection(struct good *g, const struct msock_module_message *m, const char *word,
                const char *text)
{
    const struct msock_module_host *host = g->host;

    if (strcmp(word, "push") == 0)
        trace("pushed %d;", host->push(host->ctx, m->conn, text, strlen(text)));
    else if (strcmp(word, "broadcast") == 0)
        trace("broadcast %d;", host->broadcast(host->ctx, m->conn, text, strlen(text)));
    else if (strcmp(word, "all") == 0)
        trace("broadcast %d;", host->broadcast(host->ctx, NULL, text, strlen(text)));
    else if (strcmp(word, "name") == 0)
        host->set_data(host->ctx, m->conn, strcmp(text, "ann") == 0 ? ann : bob);
    else if (strcmp(word, "keep") == 0)
        good_keep(g, m, text);
    else if (strcmp(word, "disconnect") == 0)
        host->disconnect(host->ctx, m->conn);
    else if (strcmp(word, "walk") == 0)
        good_walk(g, m->token);
    else if (strcmp(word, "log") == 0)
        host->log(host->ctx, (enum msock_module_level)atoi(text), "line %s\n", text);
    else if (strcmp(word, "misuse") == 0)
        return good_misuse(g, m, text);
    return MSOCK_MODULE_COMMIT;
}

static enum msock_module_result
good_message(void *state, const struct msock_module_message *m)
{
    struct good *g = state;
    const struct msock_module_host *host = g->host;
    struct msock_module_token *before = g->last_token;
    char word[64] = "", text[64] = "";
    char line[128];

    good_note(g, m);
    snprintf(line, sizeof(line), "%.*s", (int)m->size, (const char *)m->data);
    sscanf(line, "%63s %63[^\n]", word, text);
    g->last_token = m->token;
    if (strcmp(word, "reply") == 0)
        host->reply(host->ctx, m->token, text, strlen(text));
    if (strcmp(word, "replies") == 0) {
        host->reply(host->ctx, m->token, line, (size_t)MSOCK_MODULE_REPLY_MAX + 1);
        host->reply(host->ctx, m->token, text, strlen(text));
    }
    g->waits = strcmp(word, "later") == 0;
    if (g->waits)
        return MSOCK_MODULE_LATER;
    if (strcmp(word, "now") == 0) {
        host->reply(host->ctx, m->token, "at once", 7);
        host->settle(host->ctx, m->token, MSOCK_MODULE_COMMIT, NULL);
        return MSOCK_MODULE_LATER;
    }
    if (strcmp(word, "before") == 0) {
        host->reply(host->ctx, before, text, strlen(text));
        host->settle(host->ctx, before, MSOCK_MODULE_COMMIT, NULL);
    }
    if (strcmp(word, "refuse") == 0 || strcmp(word, "fail") == 0) {
        if (text[0] != '\0')
            host->why(host->ctx, m->token, text);
        return word[0] == 'r' ? MSOCK_MODULE_REFUSE : MSOCK_MODULE_FAIL;
    }
    return good_connection(g, m, word, text);
}

static void
good_tick(void *state)
{
    struct good *g = state;

    trace("tick;");
    if (g->waits)
        g->host->settle(g->host->ctx, g->last_token, MSOCK_MODULE_REFUSE, "it took too long");
}

static void
good_stop(void *state)
{
    struct good *g = state;

    trace("stop;");
    if (g->waits)
        g->host->settle(g->host->ctx, g->last_token, MSOCK_MODULE_COMMIT, NULL);
    free(g);
}

const struct msock_module msock_module = {
    .abi = MSOCK_MODULE_ABI,
    .size = sizeof(struct msock_module),
    .name = "good",
    .flags = MSOCK_MODULE_MOVABLE,
    .start = good_start,
    .conn_open = good_conn_open,
    .conn_close = good_conn_close,
    .message = good_message,
    .tick = good_tick,
    .stop = good_stop,
};

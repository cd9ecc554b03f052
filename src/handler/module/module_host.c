/* The functions that a module may call. Invariant: a handle of a module is looked up in a table
 * before anything behind it is read. */
#include "handler/module/module.h"

#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define MODULE_LOG_MAX 1024

void
module_bug(struct module *h, enum module_bug bug)
{
    static const char *const texts[] = {
        [MODULE_BUG_TOKEN] = "it names a message that is settled, or never was",
        [MODULE_BUG_CONN] = "it names a connection that is closed, or never was",
        [MODULE_BUG_TWICE] = "it settled a message in its callback, and then once more",
        [MODULE_BUG_RESULT] = "it gave a result for a message that is none; the message failed",
        [MODULE_BUG_REPLY] = "its reply to a message is over 16 MiB",
        [MODULE_BUG_NULL] = "it gave bytes at NULL",
    };

    if ((h->said & 1u << bug) != 0)
        return;
    h->said |= 1u << bug;
    log_line(LOG_module_wrong, "module %s: %s (said once)", h->file.module->name, texts[bug]);
}

static bool
module_has_bytes(struct module *h, const void *data, size_t n)
{
    if (data != NULL || n == 0)
        return true;
    module_bug(h, MODULE_BUG_NULL);
    return false;
}

/* --- messages --- */

/* NULL, and said, where there is no such message. After the worker began to leave, the module
 * cannot know which are left. */
static struct module_token *
module_host_token(struct module *h, const struct msock_module_token *token)
{
    struct module_token *t = module_token_find(h, token);

    if (t == NULL && !h->is_leaving)
        module_bug(h, MODULE_BUG_TOKEN);
    return t;
}

static void
module_host_reply(void *ctx, struct msock_module_token *token, const void *data, size_t n)
{
    struct module *h = ctx;
    struct module_token *t = module_host_token(h, token);

    if (t == NULL || !module_has_bytes(h, data, n))
        return;
    t->has_reply = true;
    t->is_too_long = n > MSOCK_MODULE_REPLY_MAX;
    buffer_clear(&t->reply);
    if (t->is_too_long)
        module_bug(h, MODULE_BUG_REPLY);
    else if (t->m->wants_reply)
        buffer_append(&t->reply, data, n);
}

static void
module_host_why(void *ctx, struct msock_module_token *token, const char *text)
{
    struct module_token *t = module_host_token(ctx, token);

    if (t != NULL && text != NULL)
        snprintf(t->text, sizeof(t->text), "%s", text);
}

/* Within the message callback the message is still being looked at. */
static void
module_host_settle(void *ctx, struct msock_module_token *token, enum msock_module_result result,
                   const char *text)
{
    struct module *h = ctx;
    struct module_token *t = module_host_token(h, token);

    if (t == NULL)
        return;
    if (t->is_settled) {
        module_bug(h, MODULE_BUG_TWICE);
        return;
    }
    if (text != NULL)
        snprintf(t->text, sizeof(t->text), "%s", text);
    if (t->is_under_way) {
        t->is_settled = true;
        t->result = result;
    } else {
        module_token_settle(h, t, result);
    }
}

/* --- connections --- */

struct module_conn *
module_conn_find(const struct module *h, const struct conn *c)
{
    return (struct module_conn *)module_table_find(&h->conns, (uintptr_t)c);
}

/* NULL, and said, where there is no such connection. */
static struct module_conn *
module_host_conn(struct module *h, const struct msock_module_conn *conn)
{
    struct module_conn *mc = module_conn_find(h, (const struct conn *)conn);

    if (mc == NULL)
        module_bug(h, MODULE_BUG_CONN);
    return mc;
}

static int
module_host_push(void *ctx, struct msock_module_conn *conn, const void *data, size_t n)
{
    struct module *h = ctx;
    const struct module_conn *mc = module_host_conn(h, conn);

    errno = EINVAL;
    if (!module_has_bytes(h, data, n))
        return -1;
    errno = ENOTCONN;
    if (mc == NULL || !mc->is_open)
        return -1;
    return handler_push(&h->host, (struct conn *)conn, data, n);
}

/* Where `except` is gone there is nobody to be left out. */
static int
module_host_broadcast(void *ctx, struct msock_module_conn *except, const void *data, size_t n)
{
    struct module *h = ctx;

    errno = EINVAL;
    if (!module_has_bytes(h, data, n))
        return -1;
    if (except != NULL && module_host_conn(h, except) == NULL)
        except = NULL;
    return fanout_send(h->fanout, (struct conn *)except, n > 0 ? data : "", n);
}

static struct msock_module_conn *
module_host_next_conn(void *ctx, struct msock_module_conn *conn)
{
    struct module *h = ctx;
    struct conn *c = (struct conn *)conn;
    const struct module_conn *mc;

    if (conn != NULL && module_host_conn(h, conn) == NULL)
        return NULL;
    do {
        c = h->host.next_conn(h->host.ctx, h->host.instance, c);
        mc = c != NULL ? module_conn_find(h, c) : NULL;
    } while (c != NULL && (mc == NULL || !mc->is_open));
    return (struct msock_module_conn *)c;
}

static void
module_host_peer(void *ctx, const struct msock_module_conn *conn,
                 struct msock_module_peer *peer_out)
{
    struct module *h = ctx;
    struct message_origin origin = {.listener = "", .proto = "", .peer = ""};

    if (module_host_conn(h, conn) != NULL)
        h->host.conn_origin(h->host.ctx, (const struct conn *)conn, &origin);
    *peer_out = (struct msock_module_peer){
        .listener = origin.listener,
        .proto = origin.proto,
        .address = origin.peer,
        .id = origin.conn_id,
        .identity = origin.identity != NULL ? origin.identity : "-",
    };
}

static void
module_host_set_data(void *ctx, struct msock_module_conn *conn, void *data)
{
    struct module_conn *mc = module_host_conn(ctx, conn);

    if (mc != NULL)
        mc->data = data;
}

static void *
module_host_data(void *ctx, const struct msock_module_conn *conn)
{
    const struct module_conn *mc = module_host_conn(ctx, conn);

    return mc != NULL ? mc->data : NULL;
}

static int
module_host_keep(void *ctx, struct msock_module_conn *conn, const void *data, size_t n)
{
    struct module *h = ctx;
    struct module_conn *mc = module_host_conn(h, conn);
    struct buffer kept;

    errno = mc == NULL ? ENOTCONN : n > MSOCK_MODULE_KEEP_MAX ? EMSGSIZE : EINVAL;
    if (mc == NULL || n > MSOCK_MODULE_KEEP_MAX || !module_has_bytes(h, data, n))
        return -1;
    buffer_init(&kept); /* data may be a part of what was kept before */
    buffer_append(&kept, data, n);
    buffer_fini(&mc->kept);
    mc->kept = kept;
    return 0;
}

static const void *
module_host_kept(void *ctx, const struct msock_module_conn *conn, size_t *n_out)
{
    struct module_conn *mc = module_host_conn(ctx, conn);
    size_t n = mc != NULL ? mc->kept.len : 0;

    if (n_out != NULL)
        *n_out = n;
    return n > 0 ? buffer_cstr(&mc->kept) : NULL;
}

static void
module_host_disconnect(void *ctx, struct msock_module_conn *conn)
{
    struct module *h = ctx;
    const struct module_conn *mc = module_host_conn(h, conn);

    if (mc != NULL && mc->is_open)
        h->host.disconnect(h->host.ctx, (struct conn *)conn);
}

/* --- the log --- */

static_assert(MSOCK_MODULE_ERROR == (int)LOG_LEVEL_ERROR &&
                  MSOCK_MODULE_NOTICE == (int)LOG_LEVEL_NOTICE &&
                  MSOCK_MODULE_DEBUG == (int)LOG_LEVEL_DEBUG,
              "the same levels");

static void MS_PRINTF(3, 4)
    module_host_log(void *ctx, enum msock_module_level level, const char *format, ...)
{
    const struct module *h = ctx;
    char text[MODULE_LOG_MAX];
    va_list ap;

    va_start(ap, format);
    if (vsnprintf(text, sizeof(text), format, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    if (level > MSOCK_MODULE_DEBUG)
        level = MSOCK_MODULE_NOTICE; /* one that is none is said as well */
    log_line_at(LOG_module_says, (enum log_level)level, "module %s: %s", h->file.module->name,
                text);
}

void
module_host_init(struct module *h)
{
    const char *args = h->host.listener->text[OPTION_ARGS];

    h->offered = (struct msock_module_host){
        .abi = MSOCK_MODULE_ABI,
        .size = sizeof(h->offered),
        .ctx = h,
        .worker = h->host.worker,
        .data_dir = h->host.config->data_dir,
        .args = args != NULL ? args : "",
        .reply = module_host_reply,
        .settle = module_host_settle,
        .why = module_host_why,
        .push = module_host_push,
        .broadcast = module_host_broadcast,
        .next_conn = module_host_next_conn,
        .peer = module_host_peer,
        .set_data = module_host_set_data,
        .data = module_host_data,
        .keep = module_host_keep,
        .kept = module_host_kept,
        .disconnect = module_host_disconnect,
        .log = module_host_log,
    };
}

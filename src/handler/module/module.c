/* Gives messages and connections to a shared object that somebody else has written
 * (msock_module.h). It runs in the worker and is trusted that far: the handles it gives back are
 * checked, its use of memory is not. */
#include "handler/module/module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* In front of the bytes kept with a connection that moves; the mark of fanout is behind them. */
#define MODULE_MOVING_HEAD 6
static const char module_moving_magic[4] = {'M', 'O', 'D', '1'};

/* --- messages --- */

static struct msock_module_message
module_message(const struct module *h, const struct module_token *t, const char *data)
{
    const struct message *m = t->m;
    struct conn *c = h->host.sender(h->host.ctx, m);
    const struct module_conn *mc = c != NULL ? module_conn_find(h, c) : NULL;

    return (struct msock_module_message){
        .token = module_token_handle(t),
        .conn = mc != NULL && mc->is_open ? (struct msock_module_conn *)c : NULL,
        .data = data,
        .size = (size_t)m->size,
        .kind = (char)m->kind,
        .wants_reply = m->wants_reply,
        .id = m->value,
        .id_len = m->value_len,
        .sha256 = m->sha256,
        .json = m->json,
    };
}

/* Asks the module's callback about a message; with LATER the message is not settled yet. */
static enum msock_module_result
module_ask(struct module *h, struct module_token *t, const char *data)
{
    struct msock_module_message message = module_message(h, t, data);
    enum msock_module_result result;

    t->is_under_way = true;
    result = h->file.module->message(h->state, &message);
    t->is_under_way = false;
    if (t->is_settled && result != MSOCK_MODULE_LATER)
        module_bug(h, MODULE_BUG_TWICE);
    return t->is_settled ? t->result : result;
}

static void
module_submit(void *handler, struct message *m)
{
    struct module *h = handler;
    struct module_token *t;
    enum msock_module_result result;
    const char *data;

    if (m->error != 0 || message_body(m, &data) < 0) {
        outcome_settle(&h->host, m,
                       m->error != 0 ? outcome_failed(OUTCOME_NOT_KEPT, m->error)
                                     : outcome_failed(OUTCOME_NOT_READ, errno));
        return;
    }
    t = module_token_create(h, m);
    result = module_ask(h, t, data);
    message_body_release(m, data);
    if (result != MSOCK_MODULE_LATER || t->is_settled)
        module_token_settle(h, t, result);
}

/* The module has had its time while the worker drained. */
static void
module_finish(void *handler)
{
    struct module *h = handler;

    h->is_leaving = true;
    while (h->first != NULL) {
        snprintf(h->first->text, sizeof(h->first->text), "the server is leaving");
        module_token_settle(h, h->first, MSOCK_MODULE_FAIL);
    }
}

static void
module_tick(void *handler, uint64_t now_us)
{
    struct module *h = handler;

    (void)now_us;
    if (h->file.module->tick != NULL)
        h->file.module->tick(h->state);
}

static void
module_heard(void *handler)
{
    struct module *h = handler;

    fanout_heard(h->fanout);
}

/* --- connections --- */

static void
module_tell_opened(struct module *h, struct module_conn *mc, bool moved)
{
    mc->is_open = true;
    if (h->file.module->conn_open != NULL)
        h->file.module->conn_open(h->state, (struct msock_module_conn *)mc->node.key, moved);
}

/* The module is told of a connection from another worker when its kept bytes are here. */
static void
module_conn_opened(void *handler, struct conn *c, bool moved)
{
    struct module *h = handler;
    struct module_conn *mc = ms_calloc(1, sizeof(*mc));

    mc->node.key = (uintptr_t)c;
    buffer_init(&mc->kept);
    module_table_add(&h->conns, &mc->node);
    if (!moved)
        module_tell_opened(h, mc, false);
}

static void
module_conn_closed(void *handler, struct conn *c, bool moved)
{
    struct module *h = handler;
    struct module_conn *mc = module_conn_find(h, c);
    bool was_open = mc->is_open;

    mc->is_open = false;
    if (was_open && h->file.module->conn_close != NULL)
        h->file.module->conn_close(h->state, (struct msock_module_conn *)c, moved);
    module_table_remove(&h->conns, &mc->node);
    buffer_fini(&mc->kept);
    free(mc);
}

static size_t
module_conn_moving(void *handler, struct conn *c, void *out, size_t size)
{
    struct module *h = handler;
    const struct module_conn *mc = module_conn_find(h, c);
    size_t len = MODULE_MOVING_HEAD + mc->kept.len;
    uint8_t *to = out;

    if (len > size)
        return 0;
    memcpy(to, module_moving_magic, sizeof(module_moving_magic));
    be16_store(to + sizeof(module_moving_magic), (uint16_t)mc->kept.len);
    if (mc->kept.len > 0)
        memcpy(to + MODULE_MOVING_HEAD, buffer_bytes(&mc->kept), mc->kept.len);
    return len + fanout_moving(h->fanout, c, to + len, size - len);
}

/* How many of the n bytes are this handler's own; 0 where the listener had another handler
 * before. */
static size_t
module_take_kept(struct module_conn *mc, const uint8_t *data, size_t n)
{
    size_t len;

    if (n < MODULE_MOVING_HEAD ||
        memcmp(data, module_moving_magic, sizeof(module_moving_magic)) != 0)
        return 0;
    len = be16_load(data + sizeof(module_moving_magic));
    if (len > n - MODULE_MOVING_HEAD || len > MSOCK_MODULE_KEEP_MAX)
        return 0;
    buffer_append(&mc->kept, data + MODULE_MOVING_HEAD, len);
    return MODULE_MOVING_HEAD + len;
}

static void
module_conn_adopted(void *handler, struct conn *c, const void *data, size_t n)
{
    struct module *h = handler;
    struct module_conn *mc = module_conn_find(h, c);
    size_t own = module_take_kept(mc, data, n);

    fanout_adopted(h->fanout, c, (const uint8_t *)data + own, n - own);
    module_tell_opened(h, mc, true); /* its messages now come behind those that were missed */
}

static bool
module_moves(void *handler)
{
    struct module *h = handler;

    return (h->file.module->flags & MSOCK_MODULE_MOVABLE) != 0;
}

static bool
module_wants_json(void *handler)
{
    struct module *h = handler;

    return (h->file.module->flags & MSOCK_MODULE_JSON) != 0;
}

/* --- life --- */

/* Everything but the module's own state. */
static void
module_free(struct module *h)
{
    module_table_fini(&h->tokens);
    module_table_fini(&h->conns);
    fanout_destroy(h->fanout);
    module_unload(&h->file);
    free(h);
}

static void
module_destroy(void *handler)
{
    struct module *h = handler;

    h->is_leaving = true;
    while (h->first != NULL)
        module_token_drop(h, h->first);
    if (h->file.module->stop != NULL)
        h->file.module->stop(h->state);
    module_free(h);
}

static int
module_start(struct module *h, char error[HANDLER_ERROR_LEN])
{
    char why[HANDLER_ERROR_LEN] = "";

    module_host_init(h);
    if (h->file.module->start(&h->offered, &h->state, why, sizeof(why)) == 0)
        return 0;
    why[sizeof(why) - 1] = '\0';
    module_load_error(error, h->host.listener->text[OPTION_PATH], "%s",
                      why[0] != '\0' ? why : "its start failed and said nothing");
    return -1;
}

static void *
module_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    struct module *h = ms_calloc(1, sizeof(*h));

    h->host = *host;
    h->last = &h->first;
    if (module_load(host->listener->text[OPTION_PATH], &h->file, error) < 0) {
        free(h);
        return NULL;
    }
    h->fanout = fanout_create(host);
    if (module_start(h, error) == 0)
        return h;
    module_free(h);
    return NULL;
}

const struct handler_ops module_handler = {
    .name = "module",
    .per_listener = true,
    .answers = true,
    .is_foreign = true,
    .moves = module_moves,
    .wants_json = module_wants_json,
    .create = module_create,
    .destroy = module_destroy,
    .keep_max = UINT64_MAX,
    .submit = module_submit,
    .conn_opened = module_conn_opened,
    .conn_closed = module_conn_closed,
    .conn_moving = module_conn_moving,
    .conn_adopted = module_conn_adopted,
    .heard = module_heard,
    .finish = module_finish,
    .tick = module_tick,
};

#include "module_fixture.h"

#include <libgen.h>

/* The host's functions get the fixture; this is the test around it. */
static struct module_test *module_test_now;

static struct conn *
module_sender(void *ctx, const struct message *m)
{
    struct conn *c = m->place;

    (void)ctx;
    return c != NULL && c->is_open ? c : NULL;
}

static void
module_conn_origin(void *ctx, const struct conn *c, struct message_origin *origin_out)
{
    (void)ctx;
    *origin_out = (struct message_origin){
        .listener = "frame://127.0.0.1:8000",
        .proto = "frame",
        .peer = c->address,
        .conn_id = (uint64_t)(c - module_test_now->conns) + 1,
    };
}

static int
module_push(void *ctx, struct conn *c, struct blob *blob)
{
    size_t len = strlen(c->pushed);

    (void)ctx;
    c->push_count++;
    if (c->push_error != 0) {
        errno = c->push_error;
        return -1;
    }
    snprintf(c->pushed + len, sizeof(c->pushed) - len, "%.*s\n", (int)blob->len,
             (const char *)blob->mem);
    return 0;
}

static struct conn *
module_next_conn(void *ctx, void *instance, struct conn *c)
{
    struct conn *conns = module_test_now->conns;

    (void)ctx;
    assert_ptr_equal(instance, module_test_now);
    for (size_t i = c == NULL ? 0 : (size_t)(c - conns) + 1; i < MODULE_CONNS; i++)
        if (conns[i].is_open)
            return &conns[i];
    return NULL;
}

static void
module_disconnect(void *ctx, struct conn *c)
{
    (void)ctx;
    c->disconnected = true;
}

static void
module_lost(void *ctx, uint64_t n)
{
    (void)ctx;
    (void)n;
}

void
module_path(struct module_test *t, const char *name)
{
    char self[400];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    assert_true(n > 0);
    self[n] = '\0';
    snprintf(t->path, sizeof(t->path), "%s/%s.so", dirname(dirname(dirname(self))), name);
}

struct module_test *
module_test_create(void)
{
    struct module_test *t = ms_calloc(1, sizeof(*t));
    struct handler_host *host;

    module_test_now = t;
    t->f = fixture_create();
    t->listener.text[OPTION_PATH] = t->path;
    host = &t->f->host;
    host->listener = &t->listener;
    host->instance = t;
    host->sender = module_sender;
    host->conn_origin = module_conn_origin;
    host->push = module_push;
    host->next_conn = module_next_conn;
    host->disconnect = module_disconnect;
    host->lost = module_lost;
    for (int i = 0; i < MODULE_CONNS; i++)
        snprintf(t->conns[i].address, sizeof(t->conns[i].address), "10.0.0.%d:1", i);
    return t;
}

void
module_test_set_args(struct module_test *t, const char *args)
{
    free(t->listener.text[OPTION_ARGS]);
    t->listener.text[OPTION_ARGS] = ms_strdup(args);
}

bool
module_test_start(struct module_test *t, const char *name, char error[HANDLER_ERROR_LEN])
{
    module_path(t, name);
    t->f->handler = module_handler.create(&t->f->host, error);
    t->is_up = t->f->handler != NULL;
    return t->is_up;
}

void
module_test_close(struct module_test *t, struct conn *c, bool moved)
{
    c->is_open = moved; /* its worker lists one that moves until it is gone */
    module_handler.conn_closed(t->f->handler, c, moved);
    c->is_open = false;
}

void
module_test_stop(struct module_test *t)
{
    for (int i = 0; i < MODULE_CONNS && t->is_up; i++)
        if (t->conns[i].is_open)
            module_test_close(t, &t->conns[i], false);
    if (t->is_up)
        module_handler.destroy(t->f->handler);
    t->is_up = false;
}

void
module_test_destroy(struct module_test *t)
{
    module_test_stop(t);
    fixture_destroy(t->f);
    free(t->listener.text[OPTION_ARGS]);
    free(t);
}

struct conn *
module_test_open(struct module_test *t, unsigned i)
{
    t->conns[i].is_open = true;
    module_handler.conn_opened(t->f->handler, &t->conns[i], false);
    return &t->conns[i];
}

const struct settled *
module_test_send(struct module_test *t, struct conn *from, const char *text)
{
    struct message *m = fixture_message(t->f, MESSAGE_PLAIN, "", text, strlen(text));

    m->place = from;
    module_handler.submit(t->f->handler, m);
    return t->f->settled_count > 0 ? &t->f->settled[t->f->settled_count - 1] : NULL;
}

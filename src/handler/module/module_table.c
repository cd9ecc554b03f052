/* The table in which handles of modules are looked up, and the messages that a module has not
 * settled yet. Invariant: each such message is in the table and in the list of all, or in
 * neither. */
#include "handler/module/module.h"

#include <assert.h>
#include <stdlib.h>

#define MODULE_TABLE_BITS 4 /* of a table with its first node */

/* Keys are addresses, or count upwards: multiplied (Fibonacci hashing), their high bits differ. */
static struct module_node **
module_table_row(const struct module_table *t, uintptr_t key)
{
    return &t->rows[(uint64_t)key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - t->bits)];
}

static void
module_table_link(struct module_table *t, struct module_node *node)
{
    struct module_node **row = module_table_row(t, node->key);

    node->next = *row;
    *row = node;
}

static void
module_table_grow(struct module_table *t)
{
    struct module_table old = *t;
    size_t rows = old.rows != NULL ? (size_t)1 << old.bits : 0;

    t->bits = rows > 0 ? old.bits + 1 : MODULE_TABLE_BITS;
    t->rows = ms_calloc((size_t)1 << t->bits, sizeof(struct module_node *));
    for (size_t i = 0; i < rows; i++) {
        while (old.rows[i] != NULL) {
            struct module_node *node = old.rows[i];

            old.rows[i] = node->next;
            module_table_link(t, node);
        }
    }
    free(old.rows);
}

void
module_table_fini(struct module_table *t)
{
    free(t->rows);
    *t = (struct module_table){0};
}

struct module_node *
module_table_find(const struct module_table *t, uintptr_t key)
{
    struct module_node *node = t->rows != NULL ? *module_table_row(t, key) : NULL;

    while (node != NULL && node->key != key)
        node = node->next;
    return node;
}

void
module_table_add(struct module_table *t, struct module_node *node)
{
    if (t->rows == NULL || t->count >= (size_t)1 << t->bits)
        module_table_grow(t);
    module_table_link(t, node);
    t->count++;
}

void
module_table_remove(struct module_table *t, struct module_node *node)
{
    struct module_node **link = module_table_row(t, node->key);

    while (*link != node) {
        MS_ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    t->count--;
}

/* --- messages that are not settled yet --- */

static_assert(MSOCK_MODULE_REPLY_MAX == PROTO_REPLY_MAX, "what a module may reply can be sent");

struct module_token *
module_token_create(struct module *h, struct message *m)
{
    struct module_token *t = ms_calloc(1, sizeof(*t));

    t->node.key = ++h->token_count;
    t->m = m;
    buffer_init(&t->reply);
    module_table_add(&h->tokens, &t->node);
    t->link = h->last;
    *h->last = t;
    h->last = &t->next;
    return t;
}

struct module_token *
module_token_find(const struct module *h, const struct msock_module_token *token)
{
    return (struct module_token *)module_table_find(&h->tokens, (uintptr_t)token);
}

/* A number in the shape of an address: there is nothing behind it to be followed. */
struct msock_module_token *
module_token_handle(const struct module_token *t)
{
    return (struct msock_module_token *)t->node.key;
}

static void
module_token_unlink(struct module *h, struct module_token *t)
{
    module_table_remove(&h->tokens, &t->node);
    *t->link = t->next;
    if (t->next != NULL)
        t->next->link = t->link;
    else
        h->last = t->link;
}

static void
module_token_free(struct module_token *t)
{
    buffer_fini(&t->reply);
    free(t);
}

static struct verdict
module_failed(const char *text)
{
    return (struct verdict){.outcome = PROTO_FAILED, .text = text};
}

static struct verdict
module_committed(const struct module_token *t)
{
    struct verdict verdict = {.outcome = PROTO_COMMITTED};

    if (t->is_too_long)
        return module_failed("the module's reply is over 16 MiB");
    if (t->has_reply && t->m->wants_reply) {
        verdict.reply = t->reply.len > 0 ? buffer_bytes(&t->reply) : "";
        verdict.reply_len = t->reply.len;
    }
    return verdict;
}

static struct verdict
module_verdict(struct module *h, const struct module_token *t, enum msock_module_result result)
{
    bool has_text = t->text[0] != '\0';

    switch (result) {
    case MSOCK_MODULE_COMMIT:
        return module_committed(t);
    case MSOCK_MODULE_REFUSE:
        return (struct verdict){.outcome = PROTO_REFUSED,
                                .code = "refused",
                                .text = has_text ? t->text : "the module refused it"};
    case MSOCK_MODULE_FAIL:
        return module_failed(has_text ? t->text : "the module could not take it");
    case MSOCK_MODULE_LATER:
        break;
    }
    module_bug(h, MODULE_BUG_RESULT);
    return module_failed("the module did not say what became of it");
}

/* Out of the lists first: settling may come back here. */
void
module_token_settle(struct module *h, struct module_token *t, enum msock_module_result result)
{
    struct verdict verdict = module_verdict(h, t, result);

    module_token_unlink(h, t);
    h->host.settle(h->host.ctx, t->m, &verdict);
    module_token_free(t);
}

void
module_token_drop(struct module *h, struct module_token *t)
{
    module_token_unlink(h, t);
    message_destroy(t->m);
    module_token_free(t);
}

#include "handler/module/module.h"

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

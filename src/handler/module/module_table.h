/* What a module was given, found again by what it gives back: a hash table of nodes that belong to
 * the caller. So nothing that a module holds on to for too long is ever followed. */
#ifndef HANDLER_MODULE_MODULE_TABLE_H
#define HANDLER_MODULE_MODULE_TABLE_H

#include "common/base.h"

struct module_node {
    uintptr_t key;
    struct module_node *next; /* in its row */
};

/* All zero is an empty one. */
struct module_table {
    struct module_node **rows;
    unsigned bits; /* 1 << bits rows; 0: none yet */
    size_t count;
};

/* Frees the rows. The nodes are the caller's still. */
void module_table_fini(struct module_table *t);

/* The node with that key, or NULL. */
struct module_node *module_table_find(const struct module_table *t, uintptr_t key);

/* Takes in a node whose key is set and not among the others. */
void module_table_add(struct module_table *t, struct module_node *node);

/* Takes out a node that is in it. */
void module_table_remove(struct module_table *t, struct module_node *node);

#endif

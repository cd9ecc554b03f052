/* The module handler: what its files share. */
#ifndef HANDLER_MODULE_MODULE_H
#define HANDLER_MODULE_MODULE_H

#include "common/text.h"
#include "handler/handler.h"
#include "msock_module.h"

/* --- module_table.c --- */

/* Finds the objects that a module was given by the handles that it gives back: a hash table of
 * nodes that the caller owns. So a handle that is used too late is never followed. */

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

/* --- module_load.c --- */

/* A shared object becomes a module: found fit to be loaded, loaded, and found to be made for this
 * msockd. */

struct module_file {
    void *object; /* dlopen's */
    const struct msock_module *module;
};

/* Loads the object at path (absolute), which runs its constructors. It refuses a file that is not
 * regular or that everybody may write to, and a module of another ABI or without a name, start or
 * message. Returns 0 and the file, or -1 with a sentence in error. */
MS_MUST_CHECK int
module_load(const char *path, struct module_file *file_out, char error[HANDLER_ERROR_LEN]);
void module_unload(struct module_file *file);

/* Writes "path: reason" to error; a long path loses its beginning, so that the reason is seen. */
void module_load_error(char error[HANDLER_ERROR_LEN], const char *path, const char *format, ...)
    MS_PRINTF(3, 4);

/* --- module_host.c --- */

/* The host of a module (struct msock_module_host), and its state. Modules hold addresses of
 * connections and numbers of messages, and both are looked up in a table first. A handle given back
 * too late, or twice, is logged once and changes nothing. */

/* A connection; its key is the address of the struct conn, which is what the module gets, too. */
struct module_conn {
    struct module_node node; /* first */
    void *data;              /* the module's */
    struct buffer kept;      /* goes with it to another worker */
    bool is_open;            /* the module was told of it, and not yet that it ends */
};

/* A message that is not settled yet; its key is its number, never given twice. */
struct module_token {
    struct module_node node; /* first */
    struct message *m;
    struct module_token *next, **link; /* in the order in which they came */
    struct buffer reply;
    bool has_reply, is_too_long; /* of its reply */
    bool is_under_way;           /* in the message callback: settled when that has returned */
    bool is_settled;             /* was, under way, with that result */
    enum msock_module_result result;
    char text[256]; /* for the sender */
};

enum module_bug {
    MODULE_BUG_TOKEN,  /* a token that was never given, or is settled */
    MODULE_BUG_CONN,   /* a connection that never was, or has ended */
    MODULE_BUG_TWICE,  /* one message settled twice */
    MODULE_BUG_RESULT, /* not one of enum msock_module_result, or LATER where it cannot be */
    MODULE_BUG_REPLY,  /* a reply that is too long */
    MODULE_BUG_NULL,   /* n bytes at NULL */
};

struct module {
    struct handler_host host;
    struct module_file file;
    void *state; /* the module's */
    struct msock_module_host offered;
    struct fanout *fanout;
    struct module_table conns, tokens;
    struct module_token *first, **last; /* all tokens */
    uintptr_t token_count;              /* given out so far */
    bool is_leaving;                    /* what is not settled has failed */
    unsigned said;                      /* enum module_bug, a bit each */
};

/* Fills h->offered, with h->host and h->file set. */
void module_host_init(struct module *h);

/* Says once what the module does wrong. */
void module_bug(struct module *h, enum module_bug bug);

/* The connection, or NULL. */
struct module_conn *module_conn_find(const struct module *h, const struct conn *c);

/* --- the token of a message (module_table.c) --- */

/* A token for a message that comes in. */
struct module_token *module_token_create(struct module *h, struct message *m);

/* The token that the module got for it, or NULL. */
struct module_token *
module_token_find(const struct module *h, const struct msock_module_token *token);
struct msock_module_token *module_token_handle(const struct module_token *t);

/* The message is answered and gone, the token, too. */
void module_token_settle(struct module *h, struct module_token *t, enum msock_module_result result);

/* Drops the token, and the message with it: nobody is answered. */
void module_token_drop(struct module *h, struct module_token *t);

#endif

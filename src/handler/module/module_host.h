/* What a module is offered (struct msock_module_host), and what stands behind it. Modules hold
 * addresses of connections and numbers of messages, both to be found in a table first: what a
 * module gives back too late, or twice, is said once in the log and changes nothing. */
#ifndef HANDLER_MODULE_MODULE_HOST_H
#define HANDLER_MODULE_MODULE_HOST_H

#include "handler/fanout.h"
#include "handler/module/module_load.h"
#include "handler/module/module_table.h"

#include "common/buffer.h"

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
    MODULE_BUG_TOKEN,  /* a token that is not, or no longer */
    MODULE_BUG_CONN,   /* a connection that is not, or no longer */
    MODULE_BUG_TWICE,  /* one message settled twice */
    MODULE_BUG_RESULT, /* not one of enum msock_module_result, or LATER where it cannot be */
    MODULE_BUG_REPLY,  /* a reply that is too long */
    MODULE_BUG_NULL,   /* n bytes at NULL */
};

struct handler {
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
void module_host_init(struct handler *h);

/* Says once what the module does wrong. */
void module_bug(struct handler *h, enum module_bug bug);

/* The connection, or NULL. */
struct module_conn *module_conn_find(const struct handler *h, const struct conn *c);

/* --- module_token.c --- */

/* A token for a message that comes in. */
struct module_token *module_token_create(struct handler *h, struct message *m);

/* The token that the module got for it, or NULL. */
struct module_token *
module_token_find(const struct handler *h, const struct msock_module_token *token);
struct msock_module_token *module_token_handle(const struct module_token *t);

/* The message is answered and gone, the token, too. */
void
module_token_settle(struct handler *h, struct module_token *t, enum msock_module_result result);

/* Drops the token, and the message with it: nobody is answered. */
void module_token_drop(struct handler *h, struct module_token *t);

#endif

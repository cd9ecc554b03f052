/* The environment of a child: facts about the worker and, where the child is for one message, about
 * that message; and everything else as this process has it. What a peer says is only ever the value
 * of a variable. A fact that is not known is not set, also where this process has a variable of
 * that name. */
#ifndef HANDLER_EXEC_EXEC_ENV_H
#define HANDLER_EXEC_EXEC_ENV_H

#include "handler/handler.h"

/* About the one message that a child is for. */
struct exec_facts {
    const struct message *m;
    const char *proto, *peer;
};

struct exec_env {
    char **vars;  /* NULL-terminated, for execve(2) */
    size_t owned; /* of these, the first so many; the others belong to environ */
};

/* facts: NULL for a child that gets many messages. Valid while environ does not change. */
void exec_env_init(struct exec_env *env, const struct handler_host *host,
                   const struct exec_facts *facts);
void exec_env_fini(struct exec_env *env);

/* A sentence where the message cannot be described in an environment: it holds a NUL byte. Or
 * NULL. */
const char *exec_env_refuses(const struct message *m);

#endif

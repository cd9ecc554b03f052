#include "handler/exec/exec.h"

#include "common/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const exec_env_names[] = {
    "MSOCK_LISTENER", "MSOCK_WORKER", "MSOCK_DATA_DIR", "MSOCK_PROTO",  "MSOCK_PEER",  "MSOCK_KIND",
    "MSOCK_ID",       "MSOCK_FILE",   "MSOCK_SIZE",     "MSOCK_SHA256", "MSOCK_REPLY", "MSOCK_TIME",
};

static bool
exec_env_is_ours(const char *var)
{
    size_t name_len = strcspn(var, "=");

    for (size_t i = 0; i < MS_ARRAY_LEN(exec_env_names); i++)
        if (strlen(exec_env_names[i]) == name_len && strncmp(var, exec_env_names[i], name_len) == 0)
            return true;
    return false;
}

static void MS_PRINTF(2, 3) exec_env_add(struct exec_env *env, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vasprintf(&env->vars[env->owned], fmt, args);
    va_end(args);
    MS_ASSERT(n >= 0);
    env->owned++;
}

static void
exec_env_add_message(struct exec_env *env, const struct exec_facts *facts)
{
    const struct message *m = facts->m;
    char time[CLOCK_RFC3339_LEN], hex[2 * SHA256_LEN + 1];

    for (size_t i = 0; i < SHA256_LEN; i++)
        snprintf(hex + 2 * i, 3, "%02x", m->sha256[i]);
    (void)clock_format(clock_real_us(), time);
    exec_env_add(env, "MSOCK_PROTO=%s", facts->proto);
    exec_env_add(env, "MSOCK_PEER=%s", facts->peer);
    exec_env_add(env, "MSOCK_KIND=%s", message_kind_name(m->kind));
    exec_env_add(env, "%s=%s", m->kind == MESSAGE_FILE ? "MSOCK_FILE" : "MSOCK_ID", m->value);
    exec_env_add(env, "MSOCK_SIZE=%llu", (unsigned long long)m->size);
    exec_env_add(env, "MSOCK_SHA256=%s", hex);
    exec_env_add(env, "MSOCK_REPLY=%d", m->wants_reply);
    exec_env_add(env, "MSOCK_TIME=%s", time);
}

void
exec_env_init(struct exec_env *env, const struct handler_host *host, const struct exec_facts *facts)
{
    size_t inherited = 0, count;

    while (environ != NULL && environ[inherited] != NULL)
        inherited++;
    env->vars = ms_calloc(inherited + MS_ARRAY_LEN(exec_env_names) + 1, sizeof(*env->vars));
    env->owned = 0;
    exec_env_add(env, "MSOCK_LISTENER=%s", host->listener->name);
    exec_env_add(env, "MSOCK_WORKER=%u", host->worker);
    exec_env_add(env, "MSOCK_DATA_DIR=%s", host->config->data_dir);
    if (facts != NULL)
        exec_env_add_message(env, facts);
    count = env->owned;
    for (size_t i = 0; i < inherited; i++)
        if (!exec_env_is_ours(environ[i]))
            env->vars[count++] = environ[i];
}

void
exec_env_fini(struct exec_env *env)
{
    for (size_t i = 0; i < env->owned; i++)
        free(env->vars[i]);
    free(env->vars);
    *env = (struct exec_env){0};
}

const char *
exec_env_refuses(const struct message *m)
{
    if (memchr(m->value, '\0', m->value_len) == NULL)
        return NULL;
    return m->kind == MESSAGE_FILE
               ? "the path has a NUL byte in it, which the command cannot be given"
               : "the message id has a NUL byte in it, which the command cannot be given";
}

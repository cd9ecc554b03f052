/* msockd: reads the command line, and starts the supervisor with the real worker. */
#include "common/environment.h"
#include "common/log.h"
#include "config/config_settings.h"
#include "handler/handler.h"
#include "handler/journal/data_dir.h"
#include "handler/nats/target.h"
#include "master/master.h"
#include "relay/relay.h"
#include "worker/sandbox/sandbox.h"
#include "worker/worker.h"

#include <limits.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

struct program {
    struct args args;
    struct given given;
    char cwd[PATH_MAX];
    bool has_cwd; /* where it was removed, relative paths are refused */
};

/* Returns 0, or -1 with a sentence: the sandbox is required. */
static int
program_check_sandbox(const struct config *config, char error[CONFIG_ERROR_LEN])
{
    char lack[SANDBOX_LACK_LEN];

    if (config->sandbox != SANDBOX_REQUIRE || sandbox_is_available(lack))
        return 0;
    snprintf(error, CONFIG_ERROR_LEN,
             "sandbox=require, and this kernel has %s: use another kernel, or sandbox=best", lack);
    return -1;
}

static int
program_build(void *arg, struct config **config_out, char error[CONFIG_ERROR_LEN])
{
    const struct program *p = arg;
    char why[TLS_ERROR_LEN];

    if (config_build(&p->args.config, p->has_cwd ? p->cwd : NULL, config_out, error) < 0)
        return -1;
    for (size_t i = 0; i < (*config_out)->listener_count; i++) {
        struct listener_config *l = &(*config_out)->listeners[i];

        if (listener_read_key(l, why) == 0 && listener_read_tls(l, why) == 0)
            continue;
        snprintf(error, CONFIG_ERROR_LEN, "%s", why);
        goto fail;
    }
    if (program_check_sandbox(*config_out, error) == 0)
        return 0;
fail:
    config_destroy(*config_out);
    *config_out = NULL;
    return -1;
}

static void
program_say_sandbox(const struct config *config)
{
    char lack[SANDBOX_LACK_LEN];

    if (config->sandbox == SANDBOX_BEST && !sandbox_is_available(lack))
        log_line(LOG_sandbox_lacks, "the workers go without a part of their sandbox: there is %s",
                 lack);
}

static int
program_prepare(void *arg, struct config *config, const struct config *now,
                char error[CONFIG_ERROR_LEN])
{
    bool same = now != NULL && strcmp(now->data_dir, config->data_dir) == 0;

    (void)arg;
    program_say_sandbox(config);
    return data_dir_prepare(config, same ? now : NULL, error);
}

static int
program_say(int code, const char *sentence)
{
    if (code != 0)
        fprintf(stderr, "msockd: %s\n", sentence);
    return code;
}

/* A full disk must not look like a success. */
static int
program_told(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return program_say(EX_IOERR, "cannot write to standard output");
}

static int
program_check(const struct listener_config *l,
              int (*check)(const struct listener_config *l, char error[HANDLER_ERROR_LEN]))
{
    char error[HANDLER_ERROR_LEN];

    if (check == NULL)
        return 0;
    if (check(l, error) < 0)
        return program_say(EX_CONFIG, error);
    if (error[0] != '\0')
        fprintf(stderr, "msockd: warning: %s\n", error);
    return 0;
}

/* What the handlers and the relay have to look at outside. */
static int
program_check_handlers(const struct config *config)
{
    int code = 0;

    for (size_t i = 0; i < config->listener_count && code == 0; i++)
        code =
            program_check(&config->listeners[i], handler_find(config->listeners[i].handler)->check);
    if (code == 0 && config->relay.name != NULL)
        code = program_check(&config->relay, nats_target_check);
    if (code == 0 && config->relay.name != NULL && relay_warning(config) != NULL)
        fprintf(stderr, "msockd: warning: %s\n", relay_warning(config));
    return code;
}

/* What only a start shows. */
static void
program_mind_given(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].given != NULL)
            fprintf(stderr,
                    "msockd: warning: %s: only a start shows whether there are such sockets\n",
                    config->listeners[i].name);
}

static int
program_tested(struct config *config)
{
    char error[CONFIG_ERROR_LEN];
    int code = program_check_handlers(config);

    if (code == 0 && data_dir_trust(config, error) < 0)
        code = program_say(EX_CANTCREAT, error);
    if (code != 0) {
        config_destroy(config);
        return code;
    }
    program_mind_given(config);
    printf("msockd: the configuration is right: %u worker%s, %zu listener%s\n", config->workers,
           config->workers == 1 ? "" : "s", config->listener_count,
           config->listener_count == 1 ? "" : "s");
    config_destroy(config);
    return program_told();
}

/* Does not return where this is a worker, or the relay, that was executed anew. */
static void
program_child(void)
{
    static struct child child;
    int taken = child_take(&child);

    if (taken < 0)
        _exit(CHILD_EXIT_NOT_READY);
    if (taken > 0)
        _exit(child.index == STATS_RELAY ? relay_main(&child) : worker_main(&child));
}

static struct master_hooks
program_hooks(struct program *p, char *const *argv)
{
    return (struct master_hooks){.build = program_build,
                                 .prepare = program_prepare,
                                 .arg = p,
                                 .entry = child_execute,
                                 .argv = argv,
                                 .cwd = p->has_cwd ? p->cwd : NULL,
                                 .given = p->given,
                                 .verdict_fd = -1};
}

static int
program_run(struct program *p, struct config *config, char *const *argv)
{
    struct master_hooks hooks = program_hooks(p, argv);
    enum daemonize_side side = DAEMONIZE_DAEMON;
    bool background = config->daemonize;
    struct failure why;
    int code;

    if (background)
        side = daemonize(p->given.count, &hooks.verdict_fd, &why);
    if (side != DAEMONIZE_DAEMON) {
        config_destroy(config);
        return program_say(why.code, why.text);
    }
    if (background)
        log_without_stderr(LOG_SYSLOG_SOCKET);
    code = master_run(config, &hooks, &why);
    /* In the background the process that waits says it. */
    return background || code == 0 ? code : program_say(code, why.text);
}

/* Goes on as the master that has executed this program, or tries whether it could. */
static int
program_upgrade(struct upgrade *up, int argc, char *argv[])
{
    static struct program p;
    struct master_hooks hooks;
    char error[CONFIG_ERROR_LEN];
    struct failure why;
    int code;

    p.has_cwd = upgrade_cwd(up) != NULL;
    if (p.has_cwd)
        snprintf(p.cwd, sizeof(p.cwd), "%s", upgrade_cwd(up));
    if (args_parse(argc, argv, &p.args, error) < 0) {
        upgrade_refuse(up, error);
        return program_say(EX_USAGE, error);
    }
    hooks = program_hooks(&p, argv);
    code = upgrade_run(up, &hooks, &why);
    return code == 0 ? code : program_say(code, why.text);
}

int
main(int argc, char *argv[])
{
    struct program p;
    char error[CONFIG_ERROR_LEN];
    struct config *config;
    struct upgrade *up;

    program_child();
    up = upgrade_take(argv);
    if (up != NULL)
        return program_upgrade(up, argc, argv);
    environment_make(ENVIRONMENT_DAEMON);
    given_take(&p.given);
    if (args_parse(argc, argv, &p.args, error) < 0)
        return program_say(EX_USAGE, error);
    switch (p.args.action) {
    case ARGS_HELP:
        args_help(stdout);
        return program_told();
    case ARGS_VERSION:
        printf("msockd %s\n", MSOCK_VERSION_TEXT);
        return program_told();
    case ARGS_RUN:
    case ARGS_TEST:
        break;
    }
    p.has_cwd = getcwd(p.cwd, sizeof(p.cwd)) != NULL;
    if (program_build(&p, &config, error) < 0)
        return program_say(EX_CONFIG, error);
    return p.args.action == ARGS_TEST ? program_tested(config) : program_run(&p, config, argv);
}

/* Which parts of the sandbox there are, and which of them have to be. */
#include "worker/sandbox/sandbox.h"

#include "common/log.h"
#include "stats/stats_layout.h"

#include <errno.h>
#include <stdio.h>

static uint32_t sandbox_on; /* of this process; as struct stats_block has it */

uint32_t
sandbox_parts(void)
{
    return sandbox_on;
}

bool
sandbox_is_available(char lack_out[SANDBOX_LACK_LEN])
{
    bool files = landlock_abi() > 0, calls = seccomp_is_available();

    snprintf(lack_out, SANDBOX_LACK_LEN, "%s%s%s",
             files ? "" : "no Landlock (Linux 5.19, with landlock among its security modules)",
             files || calls ? "" : " and ", calls ? "" : "no seccomp filters");
    return files && calls;
}

/* --- needs --- */

static bool
config_logs_to_socket(const struct config *config)
{
    struct log_place place;

    log_tell(&place);
    return config->log_format >= LOG_FORMAT_SYSLOG || place.syslog;
}

static bool
listener_is_unix(const struct listener_config *l)
{
    return l->endpoints[0].addr.ss_family == AF_UNIX;
}

struct sandbox_needs
sandbox_needs_of_worker(const struct config *config)
{
    struct sandbox_needs needs = {.config = config, .log_socket = config_logs_to_socket(config)};

    for (size_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *l = &config->listeners[i];
        const struct handler_ops *ops = handler_find(l->handler);

        needs.system |= ops->is_foreign || listener_is_unix(l);
        needs.connects |= ops->connects;
        needs.children |= ops->outside != NULL;
        needs.unix_sockets |= ops->connects || listener_is_unix(l);
    }
    return needs;
}

struct sandbox_needs
sandbox_needs_of_relay(const struct config *config)
{
    return (struct sandbox_needs){
        .config = config, .system = true, .connects = true, .unix_sockets = true};
}

/* --- the parts --- */

/* is_there: the kernel has it, so the master has not said that it is missing. */
static int
sandbox_failed(const struct config *config, const char *part, bool is_there,
               char error[HANDLER_ERROR_LEN])
{
    if (config->sandbox == SANDBOX_REQUIRE) {
        snprintf(error, HANDLER_ERROR_LEN, "sandbox=require, and %s cannot be switched on: %s",
                 part, strerror(errno));
        return -1;
    }
    if (is_there)
        log_line(LOG_sandbox_lacks,
                 "goes without a part of the sandbox: %s cannot be switched on: %s", part,
                 strerror(errno));
    return 0;
}

int
sandbox_begin(const struct sandbox_needs *needs, char error[HANDLER_ERROR_LEN])
{
    if (needs->config->sandbox == SANDBOX_OFF)
        return 0;
    if (landlock_confine(needs) < 0)
        return sandbox_failed(needs->config, "Landlock", landlock_abi() > 0, error);
    sandbox_on |= STATS_SANDBOX_LANDLOCK;
    return 0;
}

int
sandbox_finish(const struct sandbox_needs *needs, char error[HANDLER_ERROR_LEN])
{
    if (needs->config->sandbox == SANDBOX_OFF)
        return 0;
    if (seccomp_confine(needs) < 0)
        return sandbox_failed(needs->config, "the filter of system calls", seccomp_is_available(),
                              error);
    sandbox_on |= STATS_SANDBOX_SECCOMP;
    return 0;
}

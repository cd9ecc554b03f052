/* Loads the plugin. It stays loaded: libnats' threads live as long as the process. */
#include "nats/publisher.h"

#include "common/fd.h"

#include <dlfcn.h>
#include <stdio.h>

#define PLUGIN_NAME "msockd_nats.so"

static const struct nats_plugin *
load_check(void *object, char error[NATS_ERROR_LEN])
{
    const struct nats_plugin *plugin = dlsym(object, LINK_SYMBOL);

    if (plugin != NULL && plugin->abi == LINK_ABI && plugin->size == sizeof(*plugin))
        return plugin;
    snprintf(error, NATS_ERROR_LEN,
             PLUGIN_NAME " is of another msockd; install the package msockd-nats of this one");
    return NULL;
}

static void
load_fail(char error[NATS_ERROR_LEN])
{
    const char *why = dlerror();

    if (why != NULL && strstr(why, "libnats") != NULL)
        snprintf(error, NATS_ERROR_LEN,
                 "libnats is missing; install the package libnats3.4 (%.120s)", why);
    else
        snprintf(error, NATS_ERROR_LEN,
                 PLUGIN_NAME " is missing; install the package msockd-nats, or build msockd with"
                             " libnats-dev (%.80s)",
                 why != NULL ? why : "it cannot be loaded");
}

const struct nats_plugin *
nats_plugin_load(char error[NATS_ERROR_LEN])
{
    static const struct nats_plugin *loaded;
    char path[PROGRAM_PART_LEN];
    void *object;

    if (loaded != NULL)
        return loaded;
    program_part(PLUGIN_NAME, path);
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (object == NULL)
        load_fail(error);
    else
        loaded = load_check(object, error);
    return loaded;
}

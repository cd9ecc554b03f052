/* Who the workers run as. */
#ifndef CONFIG_CONFIG_IDENTITY_H
#define CONFIG_CONFIG_IDENTITY_H

#include "config/config_settings.h"

struct identity {
    char *user, *group; /* names, or numbers where there is no name; NULL: nothing to change */
    uid_t uid;
    gid_t gid;
};

/* Resolves the options user and group. Without root only one's own are allowed, and then there is
 * nothing to change. Returns 0 and an identity, whose strings the caller frees, or -1 with a
 * sentence in error. */
MS_MUST_CHECK int identity_resolve(const struct settings *settings, struct identity *identity_out,
                                   char error[CONFIG_ERROR_LEN]);

#endif

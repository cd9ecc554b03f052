/* Users and groups by name or number, from wherever getpwnam(3) and getgrnam(3) find them. */
#include "config/config_settings.h"

#include "common/text.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#define IDENTITY_MAX (UINT32_MAX - 1) /* the last number means "none" to the kernel */

/* "origin: no such user", or why the question could not be answered. */
static int
identity_unknown(const struct settings *s, enum option_id id, int err, char *error)
{
    const char *what = config_options[id].name;

    if (err == 0 || err == ENOENT)
        return config_fail(error, "%s: there is no such %s", s->origin[id], what);
    return config_fail(error, "%s: cannot look the %s up: %s", s->origin[id], what, strerror(err));
}

/* Also finds the user's own group, where it is known; else *group_known is false. */
static int
identity_user(const struct settings *s, struct identity *id, bool *group_known, char *error)
{
    const char *text = s->text[OPTION_USER];
    const struct passwd *pw;
    uint64_t number;
    int err;

    errno = 0;
    pw = getpwnam(text);
    err = errno;
    if (pw == NULL && text_parse_number(text, 0, IDENTITY_MAX, &number) == 0) {
        pw = getpwuid((uid_t)number);
        id->uid = (uid_t)number;
    } else if (pw == NULL) {
        return identity_unknown(s, OPTION_USER, err, error);
    }
    *group_known = pw != NULL;
    id->user = ms_strdup(pw != NULL ? pw->pw_name : text);
    if (pw != NULL) {
        id->uid = pw->pw_uid;
        id->gid = pw->pw_gid;
    }
    return 0;
}

static int
identity_group(const struct settings *s, struct identity *id, char *error)
{
    const char *text = s->text[OPTION_GROUP];
    const struct group *gr;
    uint64_t number;
    int err;

    errno = 0;
    gr = getgrnam(text);
    err = errno;
    if (gr == NULL && text_parse_number(text, 0, IDENTITY_MAX, &number) == 0) {
        gr = getgrgid((gid_t)number);
        id->gid = (gid_t)number;
    } else if (gr == NULL) {
        return identity_unknown(s, OPTION_GROUP, err, error);
    }
    id->group = ms_strdup(gr != NULL ? gr->gr_name : text);
    if (gr != NULL)
        id->gid = gr->gr_gid;
    return 0;
}

/* Only root can become someone else. */
static int
identity_allow(const struct settings *s, struct identity *id, char *error)
{
    if (geteuid() == 0)
        return 0;
    if (id->uid != geteuid())
        return config_fail(error, "%s: only root can run workers as another user",
                           s->origin[OPTION_USER]);
    if (id->group != NULL && id->gid != getegid())
        return config_fail(error, "%s: only root can run workers as another group",
                           s->origin[OPTION_GROUP]);
    id->gid = getegid();
    free(id->user);
    free(id->group);
    id->user = id->group = NULL;
    return 0;
}

int
identity_resolve(const struct settings *settings, struct identity *identity_out,
                 char error[CONFIG_ERROR_LEN])
{
    struct identity id = {.uid = geteuid(), .gid = getegid()};
    bool group_known = true;
    int rc = -1;

    if (settings->text[OPTION_USER][0] != '\0' &&
        identity_user(settings, &id, &group_known, error) < 0)
        goto out;
    if (settings->text[OPTION_GROUP][0] != '\0') {
        if (identity_group(settings, &id, error) < 0)
            goto out;
    } else if (!group_known) {
        config_fail(error, "%s: this number has no name, so its group must be given too",
                    settings->origin[OPTION_USER]);
        goto out;
    }
    if (identity_allow(settings, &id, error) < 0)
        goto out;
    *identity_out = id;
    id = (struct identity){0};
    rc = 0;
out:
    free(id.user);
    free(id.group);
    return rc;
}

/* What a child of the master keeps of the master's rights: those of its user over files, and
 * nothing else. Invariant: each step works for an ordinary user too, who has little to give up. */
#include "master/state.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UMASK_WORKER 027

static int
privileges_groups(const struct config *config)
{
    if (config->user != NULL)
        return initgroups(config->user, config->gid);
    if (config->group != NULL)
        return setgroups(1, &config->gid);
    return setgroups(0, NULL);
}

/* Root in a container may not even give groups or capabilities up: then there is nothing to do. */
static int
privileges_ids(const struct config *config, char error[FAILURE_TEXT_LEN])
{
    const bool changes = config->user != NULL || config->group != NULL;

    if (privileges_groups(config) < 0 && (changes || errno != EPERM)) {
        snprintf(error, FAILURE_TEXT_LEN, "cannot set the groups: %s", strerror(errno));
        return -1;
    }
    if (changes && setresgid(config->gid, config->gid, config->gid) < 0) {
        snprintf(error, FAILURE_TEXT_LEN, "cannot become group %u: %s", (unsigned)config->gid,
                 strerror(errno));
        return -1;
    }
    if (config->user != NULL && setresuid(config->uid, config->uid, config->uid) < 0) {
        snprintf(error, FAILURE_TEXT_LEN, "cannot become user %s: %s", config->user,
                 strerror(errno));
        return -1;
    }
    return 0;
}

static void
privileges_bounding(void)
{
    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ;
}

/* Who has none need not make the call that gives them up: the unit for systemd refuses it. */
static int
privileges_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}}, now[MS_ARRAY_LEN(none)];

    if (syscall(SYS_capget, &header, now) == 0 && memcmp(now, none, sizeof(now)) == 0)
        return 0;
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return (int)syscall(SYS_capset, &header, none);
}

int
privileges_drop(const struct config *config, char error[FAILURE_TEXT_LEN])
{
    const struct rlimit no_core = {0, 0};

    if (geteuid() == 0) {
        privileges_bounding();
        if (privileges_ids(config, error) < 0)
            return -1;
    }
    umask(UMASK_WORKER);
    if (privileges_capabilities() == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
        setrlimit(RLIMIT_CORE, &no_core) == 0)
        return 0;
    snprintf(error, FAILURE_TEXT_LEN, "cannot give up privileges: %s", strerror(errno));
    return -1;
}

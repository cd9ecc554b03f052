/* A msockd whose runtime directory was removed, moved or emptied cannot be found there. It still
 * holds a lock on the directory, wherever that is now, and that can be seen. */
#include "ctl.h"

#include "common/base.h"
#include "common/lock_look.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DELETED " (deleted)"

struct search {
    const struct ctl *ctl;
    char path[PATH_MAX]; /* of the directory that is meant, without links */
    long pid;            /* of the msockd that belongs there */
};

/* As the kernel names it. The directory itself may be gone. */
static void
search_path(const char *dir, char out[PATH_MAX])
{
    char parent[PATH_MAX], real[PATH_MAX];
    size_t len = strlen(dir), name;

    if (realpath(dir, out) != NULL || len >= sizeof(parent))
        return;
    memcpy(parent, dir, len + 1);
    while (len > 1 && parent[len - 1] == '/')
        parent[--len] = '\0';
    for (name = len; name > 0 && parent[name - 1] != '/';)
        name--;
    if (name > 0)
        parent[name > 1 ? name - 1 : 1] = '\0';
    if (realpath(name > 0 ? parent : ".", real) == NULL ||
        snprintf(out, PATH_MAX, "%s/%.*s", strcmp(real, "/") == 0 ? "" : real, (int)(len - name),
                 dir + name) >= PATH_MAX)
        out[0] = '\0';
}

static void
search_say(const struct search *s, const struct lock_seen *seen, const char *what)
{
    ctl_error(s->ctl,
              "a msockd runs as process %ld, but %s: it takes signals (kill -HUP %ld reloads, "
              "kill -TERM %ld ends it), and msockctl finds the next one that is started",
              seen->pid, what, seen->pid, seen->pid);
}

/* Removed, or emptied. */
static bool
search_here(void *arg, const struct lock_seen *seen)
{
    struct search *s = arg;
    size_t len = strlen(s->path);

    if (!process_is(seen->pid, (uid_t)-1, "msockd") || strncmp(seen->path, s->path, len) != 0)
        return false;
    if (strcmp(seen->path + len, DELETED) == 0)
        search_say(s, seen, "its runtime directory was removed");
    else if (seen->path[len] == '\0')
        search_say(s, seen, "its files were removed from here or replaced");
    else
        return false;
    s->pid = seen->pid;
    return true;
}

/* Workers hold a lock of their data directory. */
static bool
search_elsewhere(void *arg, const struct lock_seen *seen)
{
    struct search *s = arg;
    char lock[PATH_MAX + sizeof(STATS_LOCK_FILE)];

    snprintf(lock, sizeof(lock), "%s/" STATS_LOCK_FILE, seen->path);
    if (access(lock, F_OK) == 0 && process_is(seen->pid, (uid_t)-1, "msockd"))
        ctl_error(s->ctl, "a msockd runs as process %ld in %s", seen->pid, seen->path);
    return false;
}

long
ctl_explain(const struct ctl *ctl)
{
    struct search s = {.ctl = ctl};

    search_path(ctl->dir, s.path);
    if (s.path[0] != '\0' && !lock_look(NULL, search_here, &s) && access(ctl->dir, F_OK) < 0)
        lock_look(NULL, search_elsewhere, &s);
    return s.pid;
}

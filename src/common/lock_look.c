/* Who holds which lock, as /proc tells it. */
#include "common/lock_look.h"

#include "common/fd.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Does this descriptor of that process hold a lock? The kernel says it of any kind of lock. */
static bool
lock_is_of(const char *pid, const char *fd)
{
    char path[PATH_MAX], line[256];
    bool found = false;
    FILE *info;

    snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, fd);
    info = fopen(path, "re");
    while (info != NULL && !found && fgets(line, sizeof(line), info) != NULL)
        found = strncmp(line, "lock:", 5) == 0;
    if (info != NULL)
        fclose(info);
    return found;
}

/* Is this descriptor's file the one that is asked for? */
static bool
lock_is_on(int dir_fd, const char *fd, const struct stat *file)
{
    struct stat st;

    if (fstatat(dir_fd, fd, &st, 0) < 0)
        return false;
    if (file == NULL)
        return S_ISDIR(st.st_mode);
    return st.st_ino == file->st_ino && st.st_dev == file->st_dev;
}

static bool
lock_look_at(const char *pid, const struct stat *file, lock_seen_fn fn, void *arg)
{
    struct lock_seen seen = {.pid = strtol(pid, NULL, 10)};
    const struct dirent *entry;
    bool found = false;
    char path[64];
    ssize_t n;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%ld/fd", seen.pid);
    dir = opendir(path);
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
        if (!lock_is_on(dirfd(dir), entry->d_name, file) || !lock_is_of(pid, entry->d_name))
            continue;
        n = readlinkat(dirfd(dir), entry->d_name, seen.path, sizeof(seen.path) - 1);
        seen.path[n > 0 ? n : 0] = '\0';
        found = fn(arg, &seen);
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

bool
lock_look(const struct stat *file, lock_seen_fn fn, void *arg)
{
    const struct dirent *entry;
    DIR *dir = opendir("/proc");
    bool found = false;

    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        if (strspn(entry->d_name, "0123456789") == strlen(entry->d_name))
            found = lock_look_at(entry->d_name, file, fn, arg);
    if (dir != NULL)
        closedir(dir);
    return found;
}

bool
process_is(long pid, uid_t uid, const char *name)
{
    char path[64], *text;
    struct stat st;
    bool same;
    size_t len;

    snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
    if (stat(path, &st) < 0 || (uid != (uid_t)-1 && st.st_uid != uid) ||
        fd_read_file(path, 64, &text, &len) < 0)
        return false;
    text[strcspn(text, "\n")] = '\0';
    same = strcmp(text, name) == 0;
    free(text);
    return same;
}

/* The default runtime directory, and where the parts of a program are; nothing is created here. */
#include "common/fd.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUBDIRECTORY "/msockd"

/* After `sudo -E` the variable names the directory of another user, in which root would leave its
 * files. */
static bool
is_ours(const char *dir)
{
    struct stat st;

    return stat(dir, &st) == 0 && st.st_uid == geteuid();
}

static const char *
env_path(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] == '/' ? value : NULL;
}

char *
runtime_dir_default(void)
{
    const char *path;
    char text[64];
    char *dir;

    path = env_path("RUNTIME_DIRECTORY");
    if (path != NULL) {
        dir = ms_strdup(path);
        dir[strcspn(dir, ":")] = '\0';
        return dir;
    }
    path = env_path("XDG_RUNTIME_DIR");
    if (path != NULL && is_ours(path)) {
        dir = ms_malloc(strlen(path) + sizeof(SUBDIRECTORY));
        memcpy(dir, path, strlen(path));
        memcpy(dir + strlen(path), SUBDIRECTORY, sizeof(SUBDIRECTORY));
        return dir;
    }
    if (geteuid() == 0)
        return ms_strdup("/run" SUBDIRECTORY);
    snprintf(text, sizeof(text), "/tmp/msockd-%lu", (unsigned long)geteuid());
    return ms_strdup(text);
}

#ifndef MSOCK_PLUGIN_DIR
#define MSOCK_PLUGIN_DIR "/usr/local/lib/msockd"
#endif

void
program_part(const char *name, char path_out[PROGRAM_PART_LEN])
{
    ssize_t n = readlink("/proc/self/exe", path_out, PROGRAM_PART_LEN / 2);
    char *slash;

    path_out[n > 0 ? n : 0] = '\0';
    slash = strrchr(path_out, '/');
    if (slash != NULL)
        snprintf(slash + 1, (size_t)(path_out + PROGRAM_PART_LEN - slash - 1), "%s", name);
    if (slash == NULL || access(path_out, F_OK) < 0)
        snprintf(path_out, PROGRAM_PART_LEN, MSOCK_PLUGIN_DIR "/%s", name);
}

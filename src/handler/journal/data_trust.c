/* Whose the data directory is. Who else may write there could put another file under a name that a
 * worker opens, and take away what was acknowledged. */
#include "handler/journal/data_dir.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
data_part_is_trusted(const char *path, const struct stat *st, uid_t uid, struct data_fault *fault)
{
    unsigned mode = st->st_mode & 07777, owner = st->st_uid;

    if (owner != uid) {
        snprintf(fault->text, sizeof(fault->text),
                 "%s belongs to uid %u (mode %04o), and the workers are uid %u", path, owner, mode,
                 (unsigned)uid);
        snprintf(fault->mend, sizeof(fault->mend), "chown -R %u %s", (unsigned)uid, path);
        return false;
    }
    if ((mode & (S_IWGRP | S_IWOTH)) == 0)
        return true;
    snprintf(fault->text, sizeof(fault->text),
             "%s may be written by others than its owner, uid %u (mode %04o)", path, owner, mode);
    snprintf(fault->mend, sizeof(fault->mend), "chmod go-w %s", path);
    return false;
}

bool
data_dir_is_trusted(const char *data_dir, uid_t uid, struct data_fault *fault_out)
{
    char path[PATH_MAX];
    struct stat st;
    bool trusted = stat(data_dir, &st) < 0 || data_part_is_trusted(data_dir, &st, uid, fault_out);

    for (size_t i = 0; i < DATA_PARTS && trusted; i++) {
        snprintf(path, sizeof(path), "%s/%s", data_dir, data_dir_parts[i]);
        if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            trusted = data_part_is_trusted(path, &st, uid, fault_out);
    }
    return trusted;
}

int
data_dir_trust(const struct config *config, char error[CONFIG_ERROR_LEN])
{
    struct data_fault fault;

    if (data_dir_is_trusted(config->data_dir, config->user != NULL ? config->uid : geteuid(),
                            &fault))
        return 0;
    snprintf(error, CONFIG_ERROR_LEN, "%.250s: %.250s", fault.text, fault.mend);
    return -1;
}

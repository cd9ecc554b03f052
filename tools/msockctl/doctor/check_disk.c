/* The disk below the data directory: room, and whether what was synced is safe. */
#include "doctor.h"

#include "common/fd.h"
#include "handler/journal/data_dir.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FLUSHES      9
#define FLUSH_MAX_US 20000
#define SPACE_MIN    (UINT64_C(1) << 30)

static enum doctor_verdict
disk_unknown(const struct doctor *d, struct doctor_finding *f)
{
    return doctor_unknown(f, "%s: %s",
                          d->data_dir[0] != '\0' ? d->data_dir : "the data directory is not known",
                          d->data_dir[0] != '\0' ? strerror(errno) : d->config_error);
}

static bool
disk_look(const struct doctor *d, struct statvfs *out)
{
    return d->data_dir[0] != '\0' && statvfs(d->data_dir, out) == 0;
}

/* Too little is a twentieth of the disk, or 1 GiB of a large one. */
static enum doctor_verdict
look_space(const struct doctor *d, struct doctor_finding *f)
{
    char text[TEXT_BYTES_LEN];
    struct statvfs disk;
    uint64_t least, bytes;

    if (!disk_look(d, &disk))
        return disk_unknown(d, f);
    least = (uint64_t)disk.f_blocks * disk.f_frsize / 20;
    least = least < SPACE_MIN ? least : SPACE_MIN;
    bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    text_bytes((double)bytes, text);
    if (bytes >= least)
        return doctor_fine(f, "%s are free for %s", text, d->data_dir);
    doctor_mend(f, "msockctl -r %s segments --finished: copy the oldest away and remove them",
                d->ctl->dir);
    return doctor_wrong(f, "only %s are free for %s: without room every message gets REJ no-space",
                        text, d->data_dir);
}

static enum doctor_verdict
look_inodes(const struct doctor *d, struct doctor_finding *f)
{
    struct statvfs disk;

    if (!disk_look(d, &disk))
        return disk_unknown(d, f);
    if (disk.f_favail >= disk.f_files / 20)
        return doctor_fine(f, "there is room for files");
    doctor_mend(f, "du --inodes -x %s | sort -n | tail", d->data_dir);
    return doctor_wrong(f, "only %" PRIu64 " more files can be made in %s", (uint64_t)disk.f_favail,
                        d->data_dir);
}

static enum doctor_verdict
look_read_only(const struct doctor *d, struct doctor_finding *f)
{
    struct statvfs disk;

    if (!disk_look(d, &disk))
        return disk_unknown(d, f);
    if ((disk.f_flag & ST_RDONLY) == 0)
        return doctor_fine(f, "the file system of %s takes writes", d->data_dir);
    doctor_mend(f, "dmesg | tail; mount -o remount,rw %s", d->data_dir);
    return doctor_wrong(f, "the file system of %s is read-only, as after an error of its disk",
                        d->data_dir);
}

static enum doctor_verdict
look_file_system(const struct doctor *d, struct doctor_finding *f)
{
    static const struct {
        unsigned long type;
        const char *name;
    } bad[] = {{TMPFS_MAGIC, "in memory (tmpfs)"},
               {RAMFS_MAGIC, "in memory (ramfs)"},
               {OVERLAYFS_SUPER_MAGIC, "that of a container, and goes away with it"},
               {NFS_SUPER_MAGIC, "another machine's (NFS)"},
               {0xff534d42, "another machine's (CIFS)"},
               {0xfe534d42, "another machine's (SMB)"}};
    struct statfs fs;

    if (d->data_dir[0] == '\0' || statfs(d->data_dir, &fs) < 0)
        return disk_unknown(d, f);
    for (size_t i = 0; i < MS_ARRAY_LEN(bad); i++) {
        if ((unsigned long)fs.f_type != bad[i].type)
            continue;
        doctor_mend(f, "mount a file system of a local disk (ext4, xfs, btrfs) on %s", d->data_dir);
        return doctor_wrong(f, "the file system of %s is %s", d->data_dir, bad[i].name);
    }
    return doctor_fine(f, "%s is on a disk", d->data_dir);
}

/* --- barriers --- */

/* The options of the file system that a path is on, by the longest mount point before it. */
static bool
mount_options(const struct doctor *d, char out[1024])
{
    char text[DOCTOR_FILE_MAX], real[PATH_MAX], *rest = text, *line;
    size_t longest = 0;

    if (realpath(d->data_dir, real) == NULL || !doctor_read(d, "/proc/self/mountinfo", text))
        return false;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char point[1024], more[1024];
        size_t n;

        if (sscanf(line, "%*s %*s %*s %*s %1023s", point) != 1)
            continue;
        line = strstr(line, " - ");
        n = strcmp(point, "/") == 0 ? 0 : strlen(point);
        if (line == NULL || n + 1 < longest || strncmp(real, point, n) != 0 ||
            (real[n] != '/' && real[n] != '\0') || sscanf(line, " - %*s %*s %1023s", more) != 1)
            continue;
        longest = n + 1;
        memcpy(out, more, sizeof(more));
    }
    return longest > 0;
}

static enum doctor_verdict
look_barriers(const struct doctor *d, struct doctor_finding *f)
{
    static const char *const bad[] = {"nobarrier", "barrier=0"};
    char options[1024 + 2] = ",", word[64];

    if (d->data_dir[0] == '\0' || !mount_options(d, options + 1))
        return disk_unknown(d, f);
    options[strlen(options)] = ',';
    for (size_t i = 0; i < MS_ARRAY_LEN(bad); i++) {
        snprintf(word, sizeof(word), ",%s,", bad[i]);
        if (strstr(options, word) == NULL)
            continue;
        doctor_mend(f, "mount -o remount,barrier=1 \"$(stat -c %%m %s)\", and mend /etc/fstab",
                    d->data_dir);
        return doctor_wrong(f, "%s is mounted with %s: a power cut takes what was acknowledged",
                            d->data_dir, bad[i]);
    }
    return doctor_fine(f, "%s is mounted with barriers", d->data_dir);
}

/* --- how long a flush takes --- */

static int
flush_compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* The median of a few. Returns 0, or -1 with errno. */
static int
flush_measure(const char *dir, uint64_t *us_out)
{
    int fd = fd_open_unlinked(dir, DATA_DIR_TEMP_PREFIX);
    char page[4096] = {0};
    uint64_t took[FLUSHES], began;
    int rc = fd < 0 ? -1 : 0;

    for (unsigned i = 0; rc == 0 && i < FLUSHES; i++) {
        began = clock_mono_us();
        rc = fd_pwrite_all(fd, page, sizeof(page), (off_t)(i * sizeof(page)));
        if (rc == 0)
            rc = fdatasync(fd);
        took[i] = clock_mono_us() - began;
    }
    fd_close(&fd);
    if (rc < 0)
        return -1;
    qsort(took, FLUSHES, sizeof(took[0]), flush_compare);
    *us_out = took[FLUSHES / 2];
    return 0;
}

static enum doctor_verdict
look_flush(const struct doctor *d, struct doctor_finding *f)
{
    char text[UNIT_LEN];
    uint64_t us;

    if (d->data_dir[0] == '\0' || flush_measure(d->data_dir, &us) < 0)
        return disk_unknown(d, f);
    unit_duration(us, text);
    if (us <= FLUSH_MAX_US)
        return doctor_fine(f, "a flush takes %s", text);
    doctor_mend(f, "move data_dir to a disk with a safe write cache; iostat -x 1 5 shows who else "
                   "writes");
    return doctor_wrong(f, "a flush takes %s: no message is answered before one", text);
}

/* --- what is there --- */

static enum doctor_verdict
look_damaged(const struct doctor *d, struct doctor_finding *f)
{
    char path[PATH_MAX];
    const struct dirent *entry;
    unsigned count = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/journal/damaged", d->data_dir);
    dir = d->data_dir[0] != '\0' ? opendir(path) : NULL;
    if (dir == NULL)
        return d->data_dir[0] != '\0' && errno == ENOENT ? doctor_fine(f, "nothing was damaged")
                                                         : disk_unknown(d, f);
    while ((entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(dir);
    if (count == 0)
        return doctor_fine(f, "nothing was damaged");
    doctor_mend(f, "msockctl -r %s verify; smartctl -a DEVICE; then move %s away", d->ctl->dir,
                path);
    return doctor_wrong(f, "%u damaged stretches of the journal are in %s: a disk that loses bytes",
                        count, path);
}

const struct doctor_check doctor_disk[] = {
    {"space", look_space},
    {"inodes", look_inodes},
    {"read-only", look_read_only},
    {"file-system", look_file_system},
    {"barriers", look_barriers},
    {"flush-time", look_flush},
    {"damaged-journal", look_damaged},
    {NULL, NULL},
};

/* A directory is known by device, inode and time of birth, or its inode's generation where there is
 * no such time: an inode's number is used again once its directory is gone, perhaps for one that
 * nobody has made safe. */
#include "handler/journal/data_dir.h"

#include "common/kernel.h"
#include "proto/message.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DIR_FIRST 64u    /* slots, a power of two */
#define DIR_KEEP  16384u /* more are forgotten between two batches */

void
dir_syncs_init(struct dir_syncs *syncs, const struct file_ops *ops)
{
    *syncs = (struct dir_syncs){.ops = ops};
}

void
dir_syncs_fini(struct dir_syncs *syncs)
{
    free(syncs->slots);
    syncs->slots = NULL;
    syncs->count = syncs->cap = 0;
}

/* A number that an inode's next use does not share; 0 where this file system has none. */
static uint64_t
dir_birth(int fd, const struct statx *st)
{
    long generation = 0; /* that much is said to be written, an int is */

    if ((st->stx_mask & STATX_BTIME) != 0)
        return (uint64_t)st->stx_btime.tv_sec * 1000000000 + st->stx_btime.tv_nsec;
    return ioctl(fd, FS_IOC_GETVERSION, &generation) == 0 ? (uint64_t)generation : 0;
}

static int
dir_identity(int fd, struct dir_slot *id_out)
{
    struct statx st;

    if (kernel_statx(fd, STATX_INO | STATX_BTIME, &st) < 0)
        return -1;
    *id_out = (struct dir_slot){.device = makedev(st.stx_dev_major, st.stx_dev_minor),
                                .inode = st.stx_ino,
                                .birth = dir_birth(fd, &st)};
    return 0;
}

static bool
dir_is(const struct dir_slot *a, const struct dir_slot *b)
{
    return a->inode == b->inode && a->device == b->device && a->birth == b->birth;
}

/* Its slot, or the free one where it belongs. */
static struct dir_slot *
dir_find(const struct dir_syncs *syncs, const struct dir_slot *id)
{
    uint64_t hash = (id->inode ^ id->device << 32 ^ id->birth) * UINT64_C(0x9e3779b97f4a7c15);
    struct dir_slot *slot;

    for (uint64_t at = hash >> 32;; at++) {
        slot = &syncs->slots[at & (syncs->cap - 1)];
        if (!slot->used || dir_is(slot, id))
            return slot;
    }
}

/* Moves those whose health is at least as bad as that to a table of cap slots. */
static void
dir_resize(struct dir_syncs *syncs, unsigned cap, enum dir_health least)
{
    struct dir_syncs old = *syncs;

    syncs->slots = ms_calloc(cap, sizeof(*syncs->slots));
    syncs->cap = cap;
    syncs->count = 0;
    for (unsigned i = 0; i < old.cap; i++) {
        if (!old.slots[i].used || old.slots[i].health < least)
            continue;
        *dir_find(syncs, &old.slots[i]) = old.slots[i];
        syncs->count++;
    }
    free(old.slots);
}

/* A batch never loses what it has found out itself. */
static struct dir_slot *
dir_note(struct dir_syncs *syncs, const struct dir_slot *id)
{
    struct dir_slot *slot;

    if (syncs->count >= syncs->cap / 4 * 3)
        dir_resize(syncs, syncs->cap == 0 ? DIR_FIRST : syncs->cap * 2, DIR_WELL);
    slot = dir_find(syncs, id);
    if (!slot->used) {
        *slot = *id;
        slot->used = true;
        syncs->count++;
    }
    return slot;
}

bool
dir_syncs_trim(struct dir_syncs *syncs)
{
    /* Those that have failed stay, however many. */
    if (syncs->cap <= DIR_KEEP || syncs->count < 2 * syncs->kept)
        return false;
    dir_resize(syncs, syncs->cap, DIR_DOUBTED);
    while (syncs->cap > DIR_FIRST && syncs->count < syncs->cap / 8)
        dir_resize(syncs, syncs->cap / 2, DIR_DOUBTED);
    syncs->kept = syncs->count;
    return true;
}

/* What is known of it: the slot is not used where that is nothing. */
static struct dir_slot
dir_known(const struct dir_syncs *syncs, const struct dir_slot *id)
{
    const struct dir_slot nothing = {.used = false};

    return syncs->cap == 0 ? nothing : *dir_find(syncs, id);
}

/* FNV-1a, so that a path taken piece by piece comes to the same. */
uint64_t
dir_place(uint64_t above, const char *path, size_t n)
{
    const uint64_t prime = UINT64_C(0x100000001b3);
    uint64_t place = (above ^ '/') * prime;

    for (size_t i = 0; i < n; i++)
        place = (place ^ (unsigned char)path[i]) * prime;
    return place != 0 ? place : 1;
}

bool
dir_is_named(const struct dir_syncs *syncs, int fd, uint64_t place)
{
    struct dir_slot id;

    return dir_identity(fd, &id) == 0 && dir_known(syncs, &id).place == place;
}

void
dir_set_named(struct dir_syncs *syncs, int fd, uint64_t place)
{
    struct dir_slot id;

    if (dir_identity(fd, &id) == 0)
        dir_note(syncs, &id)->place = place;
}

bool
dir_is_doubted(const struct dir_syncs *syncs, int fd)
{
    struct dir_slot id;

    return dir_identity(fd, &id) < 0 || dir_known(syncs, &id).health == DIR_DOUBTED;
}

int
dir_check(const struct dir_syncs *syncs, int fd)
{
    struct dir_slot id;

    if (dir_identity(fd, &id) < 0)
        return -1;
    if (dir_known(syncs, &id).health != DIR_FAILED)
        return 0;
    errno = ENOTRECOVERABLE;
    return -1;
}

/* Takes note of an fsync's errno. */
static void
dir_judge(struct dir_syncs *syncs, const struct dir_slot *id, int error)
{
    if (error != 0)
        dir_note(syncs, id)->health = message_found_no_room(error) ? DIR_DOUBTED : DIR_FAILED;
}

size_t
dir_group_add(struct dir_group *group, int fd)
{
    size_t i, n = group->count;

    MS_ASSERT(n < SYNC_GROUP_MAX);
    group->errors[n] = dir_identity(fd, &group->ids[n]) < 0 ? errno : 0;
    for (i = 0; i < n && group->errors[n] == 0; i++)
        if (group->errors[i] == 0 && dir_is(&group->ids[i], &group->ids[n]))
            return i;
    group->fds[n] = fd;
    return group->count++;
}

void
dir_group_run(struct dir_group *group, struct dir_syncs *syncs, struct sync_group *sync)
{
    int fds[SYNC_GROUP_MAX] = {-1}, errors[SYNC_GROUP_MAX];
    size_t which[SYNC_GROUP_MAX], n = 0;

    for (size_t i = 0; i < group->count; i++) {
        if (group->errors[i] == 0 && dir_known(syncs, &group->ids[i]).health == DIR_FAILED)
            group->errors[i] = ENOTRECOVERABLE;
        if (group->errors[i] != 0)
            continue;
        fds[n] = group->fds[i];
        which[n++] = i;
    }
    sync_group_run(sync, SYNC_DIRS, fds, n, errors);
    for (size_t i = 0; i < n; i++) {
        group->errors[which[i]] = errors[i];
        dir_judge(syncs, &group->ids[which[i]], errors[i]);
    }
}

int
dir_sync(struct dir_syncs *syncs, int fd)
{
    struct dir_group group = {.count = 0};
    struct sync_group one_by_one = {.ops = syncs->ops, .hopeless = true};

    (void)dir_group_add(&group, fd);
    dir_group_run(&group, syncs, &one_by_one);
    errno = group.errors[0];
    return errno != 0 ? -1 : 0;
}

/* A directory is known by device, inode and time of birth: an inode's number is used again once its
 * directory is gone, perhaps for one that nobody has made safe. */
#include "handler/journal/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DIR_FIRST 64u    /* slots, a power of two */
#define DIR_KEEP  16384u /* more are forgotten between two batches */

enum dir_state {
    DIR_FREE = 0, /* nothing is known of it */
    DIR_NAMED,    /* its name in the directory above was seen made safe */
    DIR_FAILED,   /* an fsync of it failed */
};

struct dir_slot {
    uint64_t device, inode, born_ns;
    enum dir_state state;
};

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

static int
dir_identity(int fd, struct dir_slot *id_out)
{
    struct statx st;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
        return -1;
    *id_out = (struct dir_slot){.device = makedev(st.stx_dev_major, st.stx_dev_minor),
                                .inode = st.stx_ino,
                                .born_ns = (st.stx_mask & STATX_BTIME) == 0
                                               ? 0
                                               : (uint64_t)st.stx_btime.tv_sec * 1000000000 +
                                                     st.stx_btime.tv_nsec};
    return 0;
}

/* Its slot, or the free one where it belongs. */
static struct dir_slot *
dir_find(const struct dir_syncs *syncs, const struct dir_slot *id)
{
    uint64_t hash = (id->inode ^ id->device << 32 ^ id->born_ns) * UINT64_C(0x9e3779b97f4a7c15);
    struct dir_slot *slot;

    for (uint64_t at = hash >> 32;; at++) {
        slot = &syncs->slots[at & (syncs->cap - 1)];
        if (slot->state == DIR_FREE || (slot->inode == id->inode && slot->device == id->device &&
                                        slot->born_ns == id->born_ns))
            return slot;
    }
}

/* Moves what has at least that state to a table of cap slots. */
static void
dir_resize(struct dir_syncs *syncs, unsigned cap, enum dir_state least)
{
    struct dir_syncs old = *syncs;

    syncs->slots = ms_calloc(cap, sizeof(*syncs->slots));
    syncs->cap = cap;
    syncs->count = 0;
    for (unsigned i = 0; i < old.cap; i++) {
        if (old.slots[i].state == DIR_FREE || old.slots[i].state < least)
            continue;
        *dir_find(syncs, &old.slots[i]) = old.slots[i];
        syncs->count++;
    }
    free(old.slots);
}

/* A batch never loses what it has found out itself. */
static void
dir_note(struct dir_syncs *syncs, const struct dir_slot *id, enum dir_state state)
{
    struct dir_slot *slot;

    if (syncs->count >= syncs->cap / 4 * 3)
        dir_resize(syncs, syncs->cap == 0 ? DIR_FIRST : syncs->cap * 2, DIR_NAMED);
    slot = dir_find(syncs, id);
    syncs->count += slot->state == DIR_FREE;
    if (slot->state != DIR_FAILED) {
        *slot = *id;
        slot->state = state;
    }
}

bool
dir_syncs_trim(struct dir_syncs *syncs)
{
    /* Those that have failed stay, however many. */
    if (syncs->cap <= DIR_KEEP || syncs->count < 2 * syncs->kept)
        return false;
    dir_resize(syncs, syncs->cap, DIR_FAILED);
    while (syncs->cap > DIR_FIRST && syncs->count < syncs->cap / 8)
        dir_resize(syncs, syncs->cap / 2, DIR_FAILED);
    syncs->kept = syncs->count;
    return true;
}

static enum dir_state
dir_state(const struct dir_syncs *syncs, const struct dir_slot *id)
{
    return syncs->cap == 0 ? DIR_FREE : dir_find(syncs, id)->state;
}

bool
dir_is_named(const struct dir_syncs *syncs, int fd)
{
    struct dir_slot id;

    return dir_identity(fd, &id) == 0 && dir_state(syncs, &id) == DIR_NAMED;
}

void
dir_set_named(struct dir_syncs *syncs, int fd)
{
    struct dir_slot id;

    if (dir_identity(fd, &id) == 0)
        dir_note(syncs, &id, DIR_NAMED);
}

int
dir_check(const struct dir_syncs *syncs, int fd)
{
    struct dir_slot id;

    if (dir_identity(fd, &id) < 0)
        return -1;
    if (dir_state(syncs, &id) != DIR_FAILED)
        return 0;
    errno = EIO;
    return -1;
}

int
dir_sync(struct dir_syncs *syncs, int fd)
{
    struct dir_slot id;
    int rc, saved;

    if (dir_identity(fd, &id) < 0)
        return -1;
    if (dir_state(syncs, &id) == DIR_FAILED) {
        errno = EIO;
        return -1;
    }
    do
        rc = syncs->ops->sync_dir(fd);
    while (rc < 0 && errno == EINTR);
    if (rc == 0)
        return 0;
    saved = errno;
    dir_note(syncs, &id, DIR_FAILED);
    errno = saved;
    return -1;
}

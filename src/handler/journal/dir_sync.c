/* A directory is known by device, inode and time of birth: an inode's number is used again once its
 * directory is gone, perhaps for one that nobody has made safe. */
#include "handler/journal/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DIR_SLOTS 1024u /* a power of two */
#define DIR_MAX   (DIR_SLOTS / 4 * 3)

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
    syncs->count = 0;
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
dir_find(struct dir_slot *slots, const struct dir_slot *id)
{
    uint64_t hash = (id->inode ^ id->device << 32 ^ id->born_ns) * UINT64_C(0x9e3779b97f4a7c15);
    struct dir_slot *slot;

    for (uint64_t at = hash >> 32;; at++) {
        slot = &slots[at & (DIR_SLOTS - 1)];
        if (slot->state == DIR_FREE || (slot->inode == id->inode && slot->device == id->device &&
                                        slot->born_ns == id->born_ns))
            return slot;
    }
}

static void dir_note(struct dir_syncs *syncs, const struct dir_slot *id, enum dir_state state);

/* Forgets what was only seen to be safe: it is synced again where it matters. */
static void
dir_forget(struct dir_syncs *syncs)
{
    struct dir_slot *old = syncs->slots;

    syncs->slots = NULL;
    syncs->count = 0;
    for (unsigned i = 0; i < DIR_SLOTS; i++)
        if (old[i].state == DIR_FAILED)
            dir_note(syncs, &old[i], DIR_FAILED);
    free(old);
}

static void
dir_note(struct dir_syncs *syncs, const struct dir_slot *id, enum dir_state state)
{
    struct dir_slot *slot;

    if (syncs->count == DIR_MAX)
        dir_forget(syncs);
    if (syncs->slots == NULL)
        syncs->slots = ms_calloc(DIR_SLOTS, sizeof(*slot));
    if (syncs->count == DIR_MAX) {
        syncs->all_failed = true; /* nothing but failures: no directory is trusted any more */
        return;
    }
    slot = dir_find(syncs->slots, id);
    syncs->count += slot->state == DIR_FREE;
    if (slot->state != DIR_FAILED) {
        *slot = *id;
        slot->state = state;
    }
}

static enum dir_state
dir_state(const struct dir_syncs *syncs, const struct dir_slot *id)
{
    if (syncs->all_failed)
        return DIR_FAILED;
    return syncs->slots == NULL ? DIR_FREE : dir_find(syncs->slots, id)->state;
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

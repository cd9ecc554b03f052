/* States of the disk that a power cut may leave behind. */
#include "disk_notes.h"

#include "common/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

#define DISK_PENDING 256
#define DISK_SECTOR  512u

static uint64_t
disk_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* How much of what is not safe came true: nothing, all, or each piece by chance. */
enum luck { LUCK_NONE, LUCK_ALL, LUCK_SOME };

static bool
disk_happens(enum luck luck, uint64_t *seed)
{
    return luck == LUCK_ALL || (luck == LUCK_SOME && (disk_random(seed) >> 20) % 2 == 0);
}

/* An object while its history is gone through: what is safe, and what is not yet. */
struct past {
    char *data;
    size_t n, cap;
    mode_t mode;
    unsigned names;     /* of a file, now */
    bool inode_is_safe; /* it was synced while it had a name, or was there at the beginning */
    struct {
        char name[DISK_NAME];
        unsigned object;
        bool gone;
    } entries[DISK_ENTRIES];
    unsigned entry_count;
    const struct note *pending[DISK_PENDING];
    unsigned pending_count;
    char *made; /* where it stands in the new tree */
};

static struct past pasts[DISK_OBJECTS];

static void
past_resize(struct past *p, size_t n)
{
    if (n > p->cap) {
        p->cap = n * 2;
        p->data = realloc(p->data, p->cap);
        disk_check(p->data != NULL, "memory");
    }
    if (n > p->n)
        memset(p->data + p->n, 0, n - p->n);
    p->n = n;
}

static void
past_write(struct past *p, const struct note *note, size_t from, size_t n)
{
    if (note->at + from + n > p->n)
        past_resize(p, note->at + from + n);
    memcpy(p->data + note->at + from, (char *)note->data + from, n);
}

static void
past_name(struct past *p, const struct note *note)
{
    unsigned i = 0;

    while (i < p->entry_count && strcmp(p->entries[i].name, note->name) != 0)
        i++;
    disk_check(i < DISK_ENTRIES, "too many names");
    if (i == p->entry_count)
        p->entry_count++;
    memcpy(p->entries[i].name, note->name, DISK_NAME);
    p->entries[i].object = note->entry;
    p->entries[i].gone = note->kind == NOTE_DROP;
}

static void
past_apply(struct past *p, const struct note *note)
{
    switch (note->kind) {
    case NOTE_WRITE:
        past_write(p, note, 0, note->n);
        break;
    case NOTE_TRUNCATE:
        past_resize(p, note->n);
        break;
    case NOTE_MODE:
        p->mode = (mode_t)note->n;
        break;
    case NOTE_ADD:
    case NOTE_DROP:
        past_name(p, note);
        break;
    case NOTE_SYNC:
        break;
    }
}

/* A write comes true sector by sector. Its length may be there without its bytes. */
static void
past_tear(struct past *p, const struct note *note, uint64_t *seed)
{
    if ((disk_random(seed) >> 20) % 2 == 0 && note->at + note->n > p->n)
        past_resize(p, note->at + note->n);
    for (size_t at = 0; at < note->n;) {
        size_t n = MIN(note->n - at, DISK_SECTOR - (note->at + at) % DISK_SECTOR);

        if (disk_happens(LUCK_SOME, seed))
            past_write(p, note, at, n);
        at += n;
    }
}

static void
past_sync(struct past *p)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < p->pending_count; i++) {
        /* fdatasync need not write a mode. */
        if (p->pending[i]->kind == NOTE_MODE)
            p->pending[kept++] = p->pending[i];
        else
            past_apply(p, p->pending[i]);
    }
    p->pending_count = kept;
    p->inode_is_safe = p->inode_is_safe || p->names > 0;
}

static void
pasts_begin(void)
{
    for (unsigned i = 0; i < disk.object_count; i++) {
        const struct object *o = &disk.objects[i];
        struct past *p = &pasts[i];

        p->n = p->pending_count = 0;
        past_resize(p, o->n);
        memcpy(p->data != NULL ? p->data : (char *)p, o->data != NULL ? o->data : (char *)o, o->n);
        p->mode = o->mode;
        p->names = o->there;
        p->inode_is_safe = o->there;
        p->entry_count = o->entry_count;
        for (unsigned e = 0; e < o->entry_count; e++) {
            memcpy(p->entries[e].name, o->entries[e].name, DISK_NAME);
            p->entries[e].object = o->entries[e].object;
            p->entries[e].gone = false;
        }
        free(p->made);
        p->made = NULL;
    }
}

static void
pasts_go(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct note *note = &disk.notes[i];
        struct past *p = &pasts[note->object];

        if (note->kind == NOTE_SYNC) {
            past_sync(p);
            continue;
        }
        if (note->kind == NOTE_ADD)
            pasts[note->entry].names++;
        disk_check(p->pending_count < DISK_PENDING, "too much that was never synced");
        p->pending[p->pending_count++] = note;
    }
}

/* What happened to be written before the power went. */
static void
past_cut(struct past *p, uint64_t *seed)
{
    enum luck luck = (enum luck)((disk_random(seed) >> 20) % 3);

    for (unsigned i = 0; i < p->pending_count; i++) {
        const struct note *note = p->pending[i];

        if (note->kind == NOTE_WRITE && luck == LUCK_SOME)
            past_tear(p, note, seed);
        else if (disk_happens(luck, seed))
            past_apply(p, note);
    }
}

static void
past_make_file(struct past *p, const char *path)
{
    int fd;

    if (p->made != NULL) {
        disk_check(link(p->made, path) == 0, path);
        return;
    }
    fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0640);
    disk_check(fd >= 0 && fd_write_all(fd, p->data, p->n) == 0 && fchmod(fd, p->mode) == 0, path);
    fd_close(&fd);
    p->made = ms_strdup(path);
}

/* A name whose inode never reached the disk leads nowhere, and a check of the file system drops
 * it. */
static void
past_make_dir(unsigned object, const char *path, uint64_t *seed)
{
    struct past *p = &pasts[object];
    char child[512];

    for (unsigned i = 0; i < p->entry_count; i++) {
        unsigned entry = p->entries[i].object;

        if (p->entries[i].gone || (!disk.objects[entry].is_dir && !pasts[entry].inode_is_safe &&
                                   disk_happens(LUCK_SOME, seed)))
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, p->entries[i].name);
        if (!disk.objects[entry].is_dir) {
            past_make_file(&pasts[entry], child);
        } else {
            disk_check(mkdir(child, 0750) == 0, child);
            past_make_dir(entry, child, seed);
        }
    }
}

void
disk_cut(size_t count, uint64_t seed, const char *to)
{
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    pasts_begin();
    pasts_go(count);
    for (unsigned i = 0; i < disk.object_count; i++)
        past_cut(&pasts[i], &random);
    past_make_dir(0, to, &random);
}

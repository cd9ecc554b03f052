/* A disk that remembers: the system calls behind struct file_ops are made for real and noted down.
 * From the notes, states of the disk are made that a power cut may leave behind: what was not
 * synced is there or not, torn at 512 bytes, and each name of a directory for itself, as on a file
 * system without a journal. Any one call can be made to fail. One disk at a time. */
#ifndef TESTS_UNIT_DISK_H
#define TESTS_UNIT_DISK_H

#include "handler/journal/file_ops.h"

/* What is in the directory now is on the disk. Notes of before are forgotten. */
void disk_begin(const char *root);
void disk_end(void);

/* Calls that go to the disk and are noted. Any thread. */
const struct file_ops *disk_ops(void);

/* The plain calls on a file system that counts no links, as after a rename that a cut has halved:
 * every file has one, and whoever removes any name of a file frees what is in it. */
const struct file_ops *disk_uncounted_ops(void);

/* From now on readdir(3) finds this directory damaged (EIO); NULL: none. */
void disk_damage_dir(const char *path);

/* How many calls that change something were noted. */
size_t disk_count(void);

/* The call with this number fails with error; 0: none does. The first is 1, and calls that only
 * look count too. DISK_SHORT: a write does half of its work. disk_failed tells whether it came to
 * that, and which it was. */
#define DISK_SHORT (-1)
void disk_fail(size_t call, int error);
const char *disk_failed(void); /* the name of the call, or NULL */

/* Makes, in the empty directory `to`, the state that a cut after `count` notes may leave. The seed
 * decides what of all that is possible has happened. */
void disk_cut(size_t count, uint64_t seed, const char *to);

#endif

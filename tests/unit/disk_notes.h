/* What the disk of disk.h has noted, for the files that it is made of. */
#ifndef TESTS_UNIT_DISK_NOTES_H
#define TESTS_UNIT_DISK_NOTES_H

#include "disk.h"

#include <pthread.h>

#define DISK_OBJECTS 4096
#define DISK_NOTES   65536
#define DISK_ENTRIES 64
#define DISK_NAME    128

enum note_kind { NOTE_WRITE, NOTE_TRUNCATE, NOTE_MODE, NOTE_ADD, NOTE_DROP, NOTE_SYNC };

struct note {
    enum note_kind kind;
    unsigned object; /* the file, or the directory */
    uint64_t at, n;  /* write: offset and bytes; truncate: the length; mode */
    void *data;
    unsigned entry; /* add: the object that gets the name */
    char name[DISK_NAME];
};

/* What is on the disk before the first note. */
struct object {
    bool is_dir;
    ino_t inode;
    char *data;
    size_t n;
    mode_t mode;
    struct {
        char name[DISK_NAME];
        unsigned object;
    } entries[DISK_ENTRIES];
    unsigned entry_count;
    bool there; /* was there at the beginning */
};

struct disk {
    pthread_mutex_t lock;
    struct object objects[DISK_OBJECTS];
    unsigned object_count;
    struct note notes[DISK_NOTES];
    size_t note_count;
    size_t calls, fail_at;
    int fail_error;
    const char *failed;
};
extern struct disk disk;

/* Ends the test with the name of what is not right. */
void disk_check(bool right, const char *what);

#endif

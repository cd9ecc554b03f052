/* The store of files and blobs on a data directory of its own, whose system calls can fail. */
#ifndef UNIT_STORE_FIXTURE_H
#define UNIT_STORE_FIXTURE_H

#include "handler_fixture.h"

#include "handler/journal/journal.h"

struct context {
    struct fixture *f;
    struct data_dirs dirs;
    struct dir_syncs syncs;
    struct store store;
    struct store_put put; /* of the last file */
};

int store_setup(void **state);
int store_teardown(void **state);

#endif

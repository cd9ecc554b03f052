#include "stats_fixture.h"
#include "guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void
path_of(const struct fixture *f, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", f->dir, name);
}

int
set_up(void **state)
{
    struct fixture *f = ms_calloc(1, sizeof(*f));
    char error[256];

    guard_directory(f->dir, sizeof(f->dir));
    assert_int_equal(stats_master_open(&f->master, -1, f->dir, (gid_t)-1, error), 0);
    stats_master_ready(&f->master);
    assert_int_equal(stats_master_claim(&f->master, 3, 1, &f->place), 0);
    assert_int_equal(stats_writer_open(&f->writer, &f->place), 0);
    assert_int_equal(stats_reader_open(&f->reader, f->dir, error), 0);
    *state = f;
    return 0;
}

int
tear_down(void **state)
{
    static const char *const names[] = {"control", "lock"};
    struct fixture *f = *state;
    char path[256], name[STATS_REGION_NAME_LEN];

    stats_reader_close(&f->reader);
    stats_writer_close(&f->writer);
    stats_master_close(&f->master);
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        path_of(f, names[i], path);
        unlink(path);
    }
    for (unsigned r = 0; r < STATS_REGIONS; r++) {
        stats_region_name(r, name);
        path_of(f, name, path);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

#include "store_fixture.h"

#include <stdlib.h>

int
store_setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));
    const struct file_ops *ops = faulty_ops();

    c->f = fixture_create();
    c->dirs = DATA_DIRS_CLOSED;
    *state = c;
    dir_syncs_init(&c->syncs, ops);
    if (data_dirs_open(&c->dirs, &c->f->config, &c->syncs) < 0)
        return -1;
    faults = (struct faults){0};
    return store_init(&c->store, ON_CONFLICT_KEEP, &c->dirs, &c->syncs);
}

int
store_teardown(void **state)
{
    struct context *c = *state;

    store_fini(&c->store);
    dir_syncs_fini(&c->syncs);
    data_dirs_close(&c->dirs);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

/* blobs/<sha256>: the name says what is inside, so one that is there already, whole, is as good as
 * a new one. */
#include "handler/journal/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Only whole blobs ever get a name; another size is that of one which a power failure damaged while
 * sync was off. */
static bool
blob_is_there(struct store *store, const struct store_put *put, const char *name)
{
    struct stat st;

    return fstatat(store->dirs->blobs, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && (uint64_t)st.st_size == put->m->size;
}

/* Another worker may have linked it a moment ago and not made the directory safe yet: so we do. */
bool
blob_store_has(struct store *store, struct store_put *put)
{
    char name[STORE_NAME_LEN];

    put->stored = blob_is_there(store, put, store_name(put, name)) &&
                  store_changed(store, store->dirs->blobs) == 0;
    return put->stored;
}

static int
blob_link(struct store *store, struct store_put *put, const char *name)
{
    int dir_fd = store->dirs->blobs;

    if (store_link(store, put, dir_fd, name) == 0)
        return 0;
    if (errno != EEXIST)
        return -1;
    if (blob_is_there(store, put, name))
        return 0;
    return store_replace(store, put, dir_fd, name);
}

void
blob_store_link(struct store *store, struct store_put *put)
{
    char name[STORE_NAME_LEN];

    if (blob_link(store, put, store_name(put, name)) < 0)
        put->outcome = outcome_failed("the body cannot be stored as a blob", errno);
    else if (store_changed(store, store->dirs->blobs) < 0)
        put->outcome = outcome_failed("the directory of blobs cannot be made safe", errno);
    else
        put->stored = true;
}

/* Linux's own asynchronous I/O knows both kinds of sync (since 4.18) and runs each in a thread of
 * the kernel's. Whatever it does not take is done here, one after the other. */
#include "handler/journal/sync_group.h"

#include "common/kernel.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

void
sync_group_init(struct sync_group *group, const struct file_ops *ops)
{
    *group = (struct sync_group){.ops = ops};
}

void
sync_group_fini(struct sync_group *group)
{
    if (group->open)
        syscall(SYS_io_destroy, group->context);
    group->open = false;
}

/* Set up by the first use: a worker without files needs none. */
static bool
sync_group_usable(struct sync_group *group)
{
    if (!group->ops->sync_at_once || group->hopeless || !kernel_has(KERNEL_IO_GETEVENTS))
        return false;
    if (!group->open) {
        group->context = 0;
        group->open = syscall(SYS_io_setup, SYNC_GROUP_MAX, &group->context) == 0;
        group->hopeless = !group->open;
    }
    return group->open;
}

static int
sync_group_one(const struct sync_group *group, enum sync_what what, int fd)
{
    int (*sync)(int) = what == SYNC_DIRS ? group->ops->sync_dir : group->ops->sync_data;
    int rc;

    do
        rc = sync(fd);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? errno : 0;
}

/* Gives as many as are taken to the kernel. Returns their number: the first so many. */
static size_t
sync_group_submit(struct sync_group *group, enum sync_what what, struct iocb *blocks,
                  const int *fds, size_t count)
{
    uint16_t opcode = what == SYNC_DIRS ? IOCB_CMD_FSYNC : IOCB_CMD_FDSYNC;
    struct iocb *pointers[SYNC_GROUP_MAX];
    long taken;

    for (size_t i = 0; i < count; i++) {
        blocks[i] =
            (struct iocb){.aio_data = i, .aio_fildes = (uint32_t)fds[i], .aio_lio_opcode = opcode};
        pointers[i] = &blocks[i];
    }
    taken = syscall(SYS_io_submit, group->context, (long)count, pointers);
    if (taken < 0 && errno != EAGAIN)
        group->hopeless = true;
    return taken > 0 ? (size_t)taken : 0;
}

static void
sync_group_await(struct sync_group *group, size_t count, int *errors_out)
{
    struct io_event events[SYNC_GROUP_MAX];

    while (count > 0) {
        long got = syscall(SYS_io_getevents, group->context, 1L, (long)count, events, NULL);

        MS_ASSERT(got > 0 || errno == EINTR);
        for (long i = 0; i < got; i++)
            errors_out[events[i].data] = events[i].res < 0 ? (int)-events[i].res : 0;
        count -= got > 0 ? (size_t)got : 0;
    }
}

void
sync_group_run(struct sync_group *group, enum sync_what what, const int *fds, size_t count,
               int *errors_out)
{
    struct iocb blocks[SYNC_GROUP_MAX];
    size_t taken = 0;

    MS_ASSERT(count <= SYNC_GROUP_MAX);
    if (count > 1 && sync_group_usable(group))
        taken = sync_group_submit(group, what, blocks, fds, count);
    for (size_t i = taken; i < count; i++)
        errors_out[i] = sync_group_one(group, what, fds[i]);
    sync_group_await(group, taken, errors_out);
}

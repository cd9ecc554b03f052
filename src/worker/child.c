/* How a worker gets what it inherits, over its exec. Invariant: both programs have the same
 * structs, since an upgrade looks at their sizes before; descriptors keep their numbers. Pointers
 * mean nothing there and are made anew. */
#include "worker/child.h"

#include "common/environment.h"
#include "common/fd.h"
#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHILD_VARIABLE "MSOCKD_CHILD"
#define CHILD_TEXT_LEN 256

/* What the file in memory holds, with the configuration behind it. */
struct inherited {
    struct child child;
    struct log_place log;
    struct environment_left environment;
    struct dedup_place dedup;
    struct sources_place sources;
};

int
child_program_open(void)
{
    const char *name = (const char *)getauxval(AT_EXECFN); /* where /proc is not mounted */

    int fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);

    return fd < 0 && name != NULL ? open(name, O_PATH | O_CLOEXEC) : fd;
}

static void
child_name(const struct child *child, char out[32])
{
    if (child->index == STATS_RELAY)
        snprintf(out, 32, "relay");
    else
        snprintf(out, 32, "worker %u", child->index);
}

/* --- descriptors --- */

static int
descriptor_keep(int fd, bool keep)
{
    return fd < 0 ? 0 : fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

/* Lets those that are inherited stay open over an exec, or not. */
static int
descriptors_keep(const struct inherited *in, bool keep)
{
    const struct child *c = &in->child;
    const int fds[] = {
        c->bus.memory_fd,  c->bus.read_fd,     c->bus.bell_fd,         c->id_clock_fd,
        c->accept_bell,    c->handover_fds[0], c->handover_fds[1],     c->stats.control_fd,
        c->stats.stats_fd, c->stats.loads.fd,  c->stats.loads.read_fd, c->ready_fd,
        c->master_fd,      in->dedup.fd,       in->sources.regions.fd, in->sources.regions.read_fd};
    int rc = in->log.fd > STDERR_FILENO ? descriptor_keep(in->log.fd, keep) : 0;

    for (size_t i = 0; i < MS_ARRAY_LEN(fds); i++)
        rc |= descriptor_keep(fds[i], keep);
    for (size_t i = 0; i < c->socket_count; i++)
        rc |= descriptor_keep(c->sockets[i].fd, keep);
    return rc;
}

/* --- before the exec --- */

static void
inherited_fill(const struct child *child, struct inherited *out)
{
    *out = (struct inherited){.child = *child};
    log_tell(&out->log);
    environment_tell(&out->environment);
    dedup_table_place(child->dedup, &out->dedup);
    sources_table_place(child->sources, &out->sources);
}

/* Returns a file in memory that stays open, with its offset at the beginning; -1 with errno. */
static int
inherited_write(const struct inherited *in)
{
    int fd = kernel_memory_file("msockd-child");
    struct buffer bytes;
    bool written;

    buffer_init(&bytes);
    buffer_append(&bytes, in, sizeof(*in));
    config_pack(in->child.config, &bytes);
    written = fd >= 0 && fd_write_all(fd, buffer_bytes(&bytes), bytes.len) == 0 &&
              descriptor_keep(fd, true) == 0;
    buffer_fini(&bytes);
    if (!written)
        fd_close(&fd);
    return fd;
}

const char *
child_not_executed(int error)
{
    /* The file is open: what the kernel does not find is what it names. */
    return error == ENOENT ? "; the file must be the program msockd itself, not a script, and its "
                             "loader must be there"
                           : "";
}

size_t
child_inherited_size(void)
{
    return sizeof(struct inherited);
}

int
child_execute(const struct child *child)
{
    static struct inherited in;
    char name[32], title[48], number[16], text[CHILD_TEXT_LEN];
    char *const argv[] = {title, NULL};
    int fd;

    /* What a launcher left open is none of a worker's; before Linux 5.11 it has it all the same. */
    (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    child_name(child, name);
    snprintf(title, sizeof(title), "msockd: %s", name);
    inherited_fill(child, &in);
    fd = inherited_write(&in);
    snprintf(number, sizeof(number), "%d", fd);
    if (fd >= 0 && descriptors_keep(&in, true) == 0 && setenv(CHILD_VARIABLE, number, 1) == 0)
        (void)fexecve(child->program_fd, argv, environ);
    snprintf(text, sizeof(text), "msockd cannot be executed anew: %s%s", strerror(errno),
             child_not_executed(errno));
    (void)!fd_write_all(child->ready_fd, text, strlen(text));
    return CHILD_EXIT_NOT_READY;
}

/* --- after it --- */

/* Makes the pointers. */
static int
inherited_attach(struct inherited *in, struct config *config)
{
    struct child *c = &in->child;

    c->config = config;
    for (size_t i = 0; i < c->listener_count; i++)
        c->listeners[i].config = &config->listeners[i];
    c->dedup = dedup_table_attach(&in->dedup);
    c->sources = sources_table_attach(&in->sources, c->stats.region);
    c->id_offset_us = memory_attach(c->id_clock_fd, sizeof(*c->id_offset_us));
    fd_close(&c->id_clock_fd);
    if (c->dedup == NULL || c->sources == NULL || c->id_offset_us == NULL)
        return -1;
    return regions_attach(&c->stats.loads, c->stats.region);
}

static int
inherited_read(int fd, struct inherited *in)
{
    int rc = -1;
    struct stat st;
    void *bytes = NULL;
    struct config *config = NULL;
    size_t n;

    if (fstat(fd, &st) < 0 || (size_t)st.st_size < sizeof(*in))
        return -1;
    n = (size_t)st.st_size - sizeof(*in);
    bytes = ms_malloc(n);
    if (fd_pread_all(fd, in, sizeof(*in), 0) == 0 && fd_pread_all(fd, bytes, n, sizeof(*in)) == 0)
        config = config_unpack(bytes, n);
    if (config == NULL || descriptors_keep(in, false) < 0)
        goto out;
    log_take(&in->log, config->log_file);
    if (in->log.syslog)
        log_without_stderr(LOG_SYSLOG_SOCKET);
    log_set_level(config->log_level);
    log_set_format(config->log_format, NULL);
    environment_take(&in->environment);
    rc = inherited_attach(in, config);
out:
    free(bytes);
    return rc;
}

int
child_take(struct child *child_out)
{
    static struct inherited in;
    const char *number = getenv(CHILD_VARIABLE);
    char name[32];
    int fd, rc;

    if (number == NULL)
        return 0;
    fd = atoi(number);
    rc = inherited_read(fd, &in);
    fd_close(&fd);
    unsetenv(CHILD_VARIABLE);
    if (rc < 0)
        return -1;
    *child_out = in.child;
    child_name(child_out, name);
    log_set_name(name);
    (void)prctl(PR_SET_NAME, "msockd");
    (void)prctl(PR_SET_DUMPABLE, 0); /* an exec sets it again */
    return 1;
}

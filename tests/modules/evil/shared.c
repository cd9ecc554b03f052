/* What all workers have, and what a worker is meant to do, done too often. Much of it succeeds, and
 * must do no harm. */
#include "evil.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY 2000

/* --- descriptors of shared files --- */

static long
cut_try(const struct evil *e, int fd)
{
    (void)e;
    return ftruncate(fd, 0);
}

static long
cut_memory(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_memory, cut_try);
}

static long
grow_try(const struct evil *e, int fd)
{
    (void)e;
    return ftruncate(fd, (off_t)1 << 40);
}

static long
grow_memory(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_memory, grow_try);
}

static long
punch_try(const struct evil *e, int fd)
{
    struct stat st;

    (void)e;
    if (fstat(fd, &st) < 0)
        return -1;
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size);
}

static long
punch_memory(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_memory, punch_try);
}

static long
seal_try(const struct evil *e, int fd)
{
    (void)e;
    return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE);
}

static long
seal_memory(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_memory, seal_try);
}

static bool
is_read_only(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

static long
reopen_try(const struct evil *e, int fd)
{
    char path[32];

    (void)e;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return evil_close(open(path, O_RDWR | O_CLOEXEC));
}

/* What came for reading only, opened again for writing. */
static long
reopen(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, is_read_only, reopen_try);
}

static long
write_try(const struct evil *e, int fd)
{
    (void)e;
    return pwrite(fd, "x", 1, 0);
}

static long
write_read_only(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, is_read_only, write_try);
}

static long
chmod_try(const struct evil *e, int fd)
{
    (void)e;
    return fchmod(fd, 0666);
}

/* The control file, which msockctl trusts. */
static long
chmod_read_only(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, is_read_only, chmod_try);
}

/* Lines of the log are not aligned. */
static long
write_direct(const struct evil *e, const struct attempt *a)
{
    int flags = fcntl(STDERR_FILENO, F_GETFL) | O_NONBLOCK;
    long rc = fcntl(STDERR_FILENO, F_SETFL, flags | O_DIRECT);

    (void)e;
    (void)a;
    if (rc == 0)
        (void)fcntl(STDERR_FILENO, F_SETFL, flags);
    return rc;
}

/* --- memory --- */

/* Calls try for each mapping of that mode whose name has a->path in it. Returns how many calls
 * succeeded, or -1 with errno; ENODATA: there is no such mapping. */
static long
each_map(const struct evil *e, const struct attempt *a, const char *wanted,
         long (*try)(void *at, size_t len))
{
    const char *line = e->maps;
    long done = 0;
    int last = ENODATA;

    for (; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        unsigned long from, to;
        char mode[8], name[128];

        line += *line == '\n';
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %127s", &from, &to, mode, name) != 4 ||
            strcmp(mode, wanted) != 0 || strstr(name, a->path) == NULL)
            continue;
        if (try((void *)from, to - from) >= 0)
            done++;
        last = errno;
    }
    errno = last;
    return done > 0 ? done : -1;
}

static long
allow_try(void *at, size_t len)
{
    long rc = mprotect(at, len, PROT_READ | PROT_WRITE);

    if (rc == 0)
        (void)mprotect(at, len, PROT_READ);
    return rc;
}

static long
allow_writing(const struct evil *e, const struct attempt *a)
{
    return each_map(e, a, "r--s", allow_try);
}

static long
remove_try(void *at, size_t len)
{
    return madvise(at, len, MADV_REMOVE);
}

static long
remove_pages(const struct evil *e, const struct attempt *a)
{
    return each_map(e, a, "r--s", remove_try);
}

/* No more than a part of what is large: its pages are taken when they are written. */
static long
scribble_try(void *at, size_t len)
{
    static uint64_t seed = 88172645463325252;

    for (size_t i = 0; i + 8 <= len && i < (size_t)8 << 20; i += 8) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        memcpy((char *)at + i, &seed, 8);
    }
    return 0;
}

static long
scribble(const struct evil *e, const struct attempt *a)
{
    return each_map(e, a, "rw-s", scribble_try);
}

/* --- what goes to other workers --- */

/* One packet that is no connection, with a descriptor that is none either. */
static long
forge_one(int to, size_t len)
{
    static char bytes[65536];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec data = {bytes, len};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};

    memset(bytes, 0xa5, sizeof(bytes));
    memcpy(CMSG_DATA(&control.header), &to, sizeof(to));
    return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static long
forge_try(const struct evil *e, int fd)
{
    static const size_t sizes[] = {0, 1, 8, 100, 512, 2048, 8192, 60000};
    long rc = -1;

    (void)e;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (forge_one(fd, sizes[i]) >= 0)
            rc = 0;
    return rc;
}

static long
forge_handover(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_handover, forge_try);
}

static long
flood_try(const struct evil *e, int fd)
{
    long sent = 0;

    (void)e;
    while (sent < MANY && forge_one(fd, 2048) >= 0)
        sent++;
    return -1; /* the other end too */
}

static long
flood_handover(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_handover, flood_try);
}

static long
take_try(const struct evil *e, int fd)
{
    char byte;

    (void)e;
    return recv(fd, &byte, 1, MSG_DONTWAIT);
}

static long
take_handover(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_handover, take_try);
}

static long
shut_try(const struct evil *e, int fd)
{
    (void)e;
    return shutdown(fd, SHUT_RDWR);
}

static long
shut_handover(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_handover, shut_try);
}

/* The socket on which a worker says that it is ready is closed by now. */
static bool
is_of_master(int fd)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid == getppid() &&
           !evil_is_listener(fd) && !evil_is_handover(fd);
}

static long
ready_try(const struct evil *e, int fd)
{
    (void)e;
    return send(fd, "R", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static long
forge_ready(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, is_of_master, ready_try);
}

static long
flood_bus(const struct evil *e, const struct attempt *a)
{
    const struct msock_module_host *h = e->host;
    const size_t len = 1 << 20;
    char *bytes = calloc(1, len);
    int n = 0;

    (void)a;
    while (bytes != NULL && n < MANY && h->broadcast(h->ctx, NULL, bytes, len) == 0)
        n++;
    free(bytes);
    return n;
}

static bool
is_bell(int fd)
{
    char path[32], name[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, name, sizeof(name) - 1);
    if (n <= 0)
        return false;
    name[n] = '\0';
    return strstr(name, "[eventfd]") != NULL;
}

static long
overflow_try(const struct evil *e, int fd)
{
    const uint64_t most = UINT64_MAX - 1;

    (void)e;
    while (write(fd, &most, sizeof(most)) < 0 && errno == EAGAIN)
        (void)!read(fd, &(uint64_t){0}, sizeof(most));
    errno = 0;
    return -1; /* the other ones too */
}

static long
overflow_bells(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, is_bell, overflow_try);
}

/* --- too much of what is allowed --- */

static long
all_descriptors(const struct evil *e, const struct attempt *a)
{
    int last = dup(STDIN_FILENO), first = last;

    (void)e;
    (void)a;
    for (int fd = first; fd >= 0; fd = dup(STDIN_FILENO))
        last = fd;
    for (; first >= 0 && last >= first; last--)
        if (fcntl(last, F_GETFD) >= 0)
            (void)evil_close(last);
    return first;
}

static long
much_memory(const struct evil *e, const struct attempt *a)
{
    const size_t len = (size_t)256 << 20;
    void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)e;
    (void)a;
    if (at == MAP_FAILED)
        return -1;
    memset(at, 1, len);
    return munmap(at, len);
}

static void *
thread_wait(void *end)
{
    (void)pthread_mutex_lock(end);
    (void)pthread_mutex_unlock(end);
    return NULL;
}

static long
many_threads(const struct evil *e, const struct attempt *a)
{
    static pthread_t threads[200];
    static pthread_mutex_t end = PTHREAD_MUTEX_INITIALIZER;
    size_t n = 0;

    (void)e;
    (void)a;
    (void)pthread_mutex_lock(&end);
    while (n < sizeof(threads) / sizeof(threads[0]) &&
           (errno = pthread_create(&threads[n], NULL, thread_wait, &end)) == 0)
        n++;
    (void)pthread_mutex_unlock(&end);
    for (size_t i = 0; i < n; i++)
        (void)pthread_join(threads[i], NULL);
    return n > 0 ? (long)n : -1;
}

static long
close_try(const struct evil *e, int fd)
{
    (void)e;
    (void)close(fd);
    errno = 0;
    return -1; /* the next ones too */
}

static long
close_listeners(const struct evil *e, const struct attempt *a)
{
    (void)a;
    (void)evil_each(e, evil_is_listener, close_try);
    return 0;
}

const struct attempt evil_shared[] = {
    {.name = "cut-shared-memory", .run = cut_memory},
    {.name = "grow-shared-memory", .run = grow_memory},
    {.name = "punch-shared-memory", .run = punch_memory},
    {.name = "seal-shared-memory", .run = seal_memory},
    {.name = "open-again-for-writing", .run = reopen},
    {.name = "write-what-is-for-reading", .run = write_read_only},
    {.name = "open-to-everybody", .run = chmod_read_only},
    {.name = "write-log-direct", .run = write_direct},
    {.name = "make-shared-memory-writable", .run = allow_writing, .path = ""},
    {.name = "remove-pages-of-others", .run = remove_pages, .path = ""},
    {.name = "forge-ready", .run = forge_ready},
    {.name = "take-from-handover", .run = take_handover},
    {.name = "forge-handover", .run = forge_handover},
    {.name = "flood-handover", .run = flood_handover},
    {.name = "flood-bus", .run = flood_bus},
    {.name = "overflow-bells", .run = overflow_bells},
    {.name = "all-descriptors", .run = all_descriptors},
    {.name = "much-memory", .run = much_memory},
    {.name = "many-threads", .run = many_threads},
    {.name = "shut-handover", .run = shut_handover},
    {.name = "close-listeners", .run = close_listeners},
    {.name = "scribble-bus", .run = scribble, .path = "msockd-bus"},
    {.name = "scribble-ids", .run = scribble, .path = "msockd-dedup"},
    {.name = "scribble-sources", .run = scribble, .path = "msockd-sources"},
    {.name = "scribble-statistics", .run = scribble, .path = "stats."},
    {.name = "scribble-clock", .run = scribble, .path = "msockd-clock"},
    {.name = "scribble-loads", .run = scribble, .path = "msockd-loads"},
    {.name = NULL},
};

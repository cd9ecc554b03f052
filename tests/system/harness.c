/* Directories, programs and the teardown. Everything that a failed assertion could leave behind is
 * known here or in a list that harness_teardown empties. */
#include "harness.h"

#include "support/signals.h"

#include "attacks.h"
#include "daemon.h"
#include "load.h"
#include "peer.h"
#include "proc.h"
#include "proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACES_MAX      64
#define PROGRAM_SECONDS 840 /* a test program that takes longer hangs */

static struct place {
    char path[HARNESS_PATH_LEN];
    bool mounted;
} places[PLACES_MAX];
static size_t place_count;

static void
raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int
harness_begin(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    raise_descriptor_limit();
    alarm(PROGRAM_SECONDS * WAIT_SCALE);
    return 0;
}

int
harness_end(void **state)
{
    (void)state;
    alarm(0);
    return 0;
}

/* Orphans become our children, so this ends whatever descends from us, in a few rounds. */
static void
end_children(void)
{
    struct waiting w = waiting_begin(10000);
    struct proc_list list;

    do {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        proc_children(getpid(), &list);
        for (size_t i = 0; i < list.count; i++) {
            signal_send(list.pid[i], SIGCONT);
            signal_send(list.pid[i], SIGKILL);
        }
    } while (list.count > 0 && waiting_more(&w));
}

int
harness_teardown(void **state)
{
    (void)state;
    attacks_stop();
    load_end_all();
    proxy_end_all();
    peer_close_all();
    daemon_report_unfinished();
    end_children();
    daemon_forget_all();
    while (place_count > 0) {
        struct place *place = &places[--place_count];

        if (place->mounted)
            umount2(place->path, MNT_DETACH);
        harness_remove_tree(place->path);
    }
    return 0;
}

static void
program_path(const char *name, char out[HARNESS_PATH_LEN])
{
    const char *build = getenv("MSOCK_BUILD");

    harness_join(out, build != NULL ? build : "build", name);
}

bool
harness_is_built(const char *name)
{
    char path[HARNESS_PATH_LEN];

    program_path(name, path);
    return access(path, R_OK) == 0;
}

const char *
harness_program(const char *name)
{
    static char path[8][HARNESS_PATH_LEN];
    static unsigned next;
    char *out = path[next++ % 8];

    program_path(name, out);
    if (access(out, R_OK) < 0)
        fail_msg("%s is not there; MSOCK_BUILD names the build directory", out);
    return out;
}

const char *
harness_source(const char *name)
{
    static char path[HARNESS_PATH_LEN];
    const char *source = getenv("MSOCK_SOURCE");

    harness_join(path, source != NULL ? source : ".", name);
    return path;
}

void
harness_join(char out[HARNESS_PATH_LEN], const char *dir, const char *name)
{
    int n = snprintf(out, HARNESS_PATH_LEN, "%s/%s", dir, name);

    assert_in_range(n, 1, HARNESS_PATH_LEN - 1);
}

void
harness_directory(char path_out[HARNESS_PATH_LEN])
{
    const char *base = getenv("TMPDIR");
    struct place *place = &places[place_count];

    assert_true(place_count < PLACES_MAX);
    harness_join(place->path, base != NULL ? base : "/tmp", "msock-test-XXXXXX");
    if (mkdtemp(place->path) == NULL)
        fail_msg("no directory %s: %s", place->path, strerror(errno));
    chmod(place->path, 0755); /* workers of another user must get through */
    place->mounted = false;
    place_count++;
    memcpy(path_out, place->path, HARNESS_PATH_LEN);
}

static void
note_mount(const char *path, bool mounted)
{
    for (size_t i = 0; i < place_count; i++)
        if (strcmp(places[i].path, path) == 0)
            places[i].mounted = mounted;
}

bool
harness_mount(const char *type, const char *options, const char *path)
{
    bool mounted = mount("msock-test", path, type, 0, options) == 0;

    note_mount(path, mounted);
    return mounted;
}

void
harness_small_disk(unsigned kib, char path_out[HARNESS_PATH_LEN])
{
    char options[64];

    harness_need_root();
    harness_directory(path_out);
    snprintf(options, sizeof(options), "size=%uk,mode=0755", kib);
    if (!harness_mount("tmpfs", options, path_out)) {
        print_message("no tmpfs may be mounted here: %s\n", strerror(errno));
        skip();
    }
}

bool
harness_mount_image(const char *image, const char *options, const char *path)
{
    char line[2 * HARNESS_PATH_LEN + 64];
    bool mounted;

    snprintf(line, sizeof(line), "mount -o 'loop%s' '%s' '%s' 2>/dev/null", options, image, path);
    mounted = system(line) == 0;
    note_mount(path, mounted);
    return mounted;
}

void
harness_unmount(const char *path)
{
    note_mount(path, false);
    assert_int_equal(umount2(path, 0), 0);
}

#ifdef MS_SANITIZE
bool harness_is_sandboxed;
#else
bool harness_is_sandboxed = true;
#endif

void
harness_need_sandbox(void)
{
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 2) /* asks for the version */
        skip();
    if (harness_is_sandboxed)
        return;
    /* Whoever looks for leaks makes a process. */
    assert_int_equal(setenv("ASAN_OPTIONS", "detect_leaks=0", 1), 0);
    harness_is_sandboxed = true;
}

void
harness_need_root(void)
{
    if (geteuid() != 0) {
        print_message("needs root\n");
        skip();
    }
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    remove(path);
    return 0;
}

void
harness_remove_tree(const char *path)
{
    nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void
harness_write_file(const char *path, const void *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        fail_msg("cannot write %s: %s", path, strerror(errno));
    close(fd);
}

void
harness_key(char path_out[HARNESS_PATH_LEN])
{
    char dir[HARNESS_PATH_LEN];

    harness_directory(dir);
    harness_join(path_out, dir, "key");
    harness_write_file(path_out, "0123456789abcdef0123456789abcdef", 32);
    assert_int_equal(chmod(path_out, 0600), 0);
}

char *
harness_read_file(const char *path, size_t *n_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0, cap = 65536;
    char *data = NULL;
    ssize_t got;

    if (fd < 0)
        return NULL;
    data = malloc(cap);
    assert_non_null(data);
    while ((got = read(fd, data + have, cap - have - 1)) > 0) {
        have += (size_t)got;
        if (cap - have < 2)
            data = realloc(data, cap *= 2);
        assert_non_null(data);
    }
    close(fd);
    data[have] = '\0';
    if (n_out != NULL)
        *n_out = have;
    return data;
}

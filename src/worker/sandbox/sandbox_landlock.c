/* Landlock: which files a worker reaches, and which ports. Invariant: what the rules name is there
 * or left out, and all else that can be asked of this kernel is refused; what is open stays usable.
 * A rule is about a file or directory, not about a name: one that is put in its place has none. */
#include "worker/sandbox/sandbox.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers that we build with. */
enum {
    FS_TRUNCATE = 1 << 14,
    FS_IOCTL_DEV = 1 << 15,
    NET_BIND_TCP = 1 << 0,
    NET_CONNECT_TCP = 1 << 1,
    SCOPE_ABSTRACT_UNIX = 1 << 0,
    SCOPE_SIGNAL = 1 << 1,
};

/* A kernel that has less of it takes it where the rest is 0. */
struct landlock_all {
    uint64_t files, net, scopes;
};

#define ABI_LEAST    2 /* before, nothing can be renamed into another directory */
#define ABI_TRUNCATE 3
#define ABI_NET      4
#define ABI_IOCTL    5
#define ABI_SCOPES   6

#define FILES_OF_ABI_2 ((LANDLOCK_ACCESS_FS_REFER << 1) - 1)

#define MAY_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define MAY_MAKE                                                              \
    (MAY_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |           \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER | (uint64_t)FS_TRUNCATE)
#define MAY_LOG (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG)

/* All that can be allowed of something that is no directory. */
#define OF_A_FILE                                                                                \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | \
     (uint64_t)FS_TRUNCATE | (uint64_t)FS_IOCTL_DEV)

unsigned
landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return abi < ABI_LEAST ? 0 : (unsigned)abi;
}

static struct landlock_all
landlock_all(unsigned abi, const struct sandbox_needs *needs)
{
    struct landlock_all all = {.files = FILES_OF_ABI_2};

    if (abi >= ABI_TRUNCATE)
        all.files |= FS_TRUNCATE;
    if (abi >= ABI_IOCTL)
        all.files |= FS_IOCTL_DEV;
    if (abi >= ABI_NET) /* which ports the servers of a cluster have, they tell */
        all.net = NET_BIND_TCP | (needs->connects ? 0 : NET_CONNECT_TCP);
    if (abi >= ABI_SCOPES) /* PR_SET_PDEATHSIG is a signal of the one that dies */
        all.scopes = SCOPE_ABSTRACT_UNIX | (needs->children ? 0 : SCOPE_SIGNAL);
    return all;
}

/* --- rules --- */

struct ruleset {
    int fd;
    struct landlock_all all;
    int error; /* of the first rule that could not be added; 0 */
};

/* What is not there, or may not be looked at, cannot be used either. */
static void
ruleset_allow(struct ruleset *r, const char *path, uint64_t files)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = files & r->all.files,
        .parent_fd = open(path, O_PATH | O_CLOEXEC),
    };
    struct stat st;

    if (rule.parent_fd < 0)
        return;
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= OF_A_FILE;
    if (syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        r->error = errno;
    close(rule.parent_fd);
}

static void
ruleset_allow_directory_of(struct ruleset *r, const char *path, uint64_t files)
{
    char *copy = ms_strdup(path), *slash = strrchr(copy, '/');

    if (slash != NULL && slash != copy)
        *slash = '\0';
    ruleset_allow(r, copy, files);
    free(copy);
}

/* A module may have libraries and data of its own beside it. */
static void
ruleset_allow_files_of(struct ruleset *r, const struct listener_config *l)
{
    for (size_t id = OPTION_COMMAND; id < OPTION_COUNT; id++)
        if (config_options[id].is_path && l->text[id] != NULL && l->text[id][0] != '\0')
            ruleset_allow(r, l->text[id], MAY_READ);
    if (l->text[OPTION_PATH] != NULL)
        ruleset_allow_directory_of(r, l->text[OPTION_PATH], MAY_READ);
}

/* To workers that are root all of /etc would be open, with the passwords. They lose what is
 * replaced there, until the next reload. */
static void
ruleset_allow_system(struct ruleset *r)
{
    static const char *const of_root[] = {"/etc/passwd",      "/etc/group",    "/etc/nsswitch.conf",
                                          "/etc/resolv.conf", "/etc/hosts",    "/etc/host.conf",
                                          "/etc/gai.conf",    "/etc/services", "/etc/protocols"};

    if (geteuid() != 0)
        ruleset_allow(r, "/etc", MAY_READ);
    for (size_t i = 0; i < MS_ARRAY_LEN(of_root); i++)
        ruleset_allow(r, of_root[i], MAY_READ);
}

static void
ruleset_allow_needs(struct ruleset *r, const struct sandbox_needs *needs)
{
    static const char *const always[] = {"/usr",
                                         "/lib",
                                         "/lib64",
                                         "/etc/ssl/certs",
                                         "/etc/ssl/openssl.cnf",
                                         "/etc/localtime",
                                         "/etc/ld.so.cache",
                                         "/proc/self/exe",
                                         "/proc/self/fd"};
    const struct config *config = needs->config;
    char plugins[PROGRAM_PART_LEN];

    for (size_t i = 0; i < MS_ARRAY_LEN(always); i++)
        ruleset_allow(r, always[i], MAY_READ);
    ruleset_allow(r, "/dev/urandom", MAY_READ); /* a kernel without getrandom */
    ruleset_allow(r, "/dev/null", MAY_READ | LANDLOCK_ACCESS_FS_WRITE_FILE);
    ruleset_allow(r, config->data_dir, MAY_MAKE);
    if (config->log_file != NULL)
        ruleset_allow_directory_of(r, config->log_file, MAY_LOG);
    if (needs->system)
        ruleset_allow_system(r);
    if (needs->connects) {
        program_part("", plugins);
        ruleset_allow(r, plugins, MAY_READ);
    }
    for (size_t i = 0; i < config->listener_count; i++)
        ruleset_allow_files_of(r, &config->listeners[i]);
    if (config->relay.name != NULL)
        ruleset_allow_files_of(r, &config->relay);
}

int
landlock_confine(const struct sandbox_needs *needs)
{
    unsigned abi = landlock_abi();
    struct ruleset r = {.fd = -1, .all = landlock_all(abi, needs), .error = ENOSYS};
    int rc = -1;

    if (abi > 0)
        r.fd = (int)syscall(SYS_landlock_create_ruleset, &r.all, sizeof(r.all), 0);
    if (r.fd < 0)
        return -1;
    r.error = 0;
    ruleset_allow_needs(&r, needs);
    errno = r.error;
    if (r.error == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        rc = (int)syscall(SYS_landlock_restrict_self, r.fd, 0);
    fd_close(&r.fd);
    return rc;
}

/* Limits and permissions of the processes, and what the kernel takes from them. */
#include "doctor.h"

#include "common/kernel.h"

#include <inttypes.h>
#include <stdlib.h>

/* The soft limit of a process by its title in /proc/PID/limits; UINT64_MAX: none. */
static bool
limit_read(const struct doctor *d, const char *title, uint64_t *out)
{
    char path[64], text[DOCTOR_FILE_MAX];
    const char *at;

    snprintf(path, sizeof(path), "/proc/%d/limits", d->stats.pid);
    if (!doctor_read(d, path, text) || (at = strstr(text, title)) == NULL)
        return false;
    at += strlen(title);
    at += strspn(at, " ");
    *out = strncmp(at, "unlimited", 9) == 0 ? UINT64_MAX : strtoull(at, NULL, 10);
    return true;
}

/* Where the limit is below need. The option is that of prlimit(1), the directive systemd's. */
static enum doctor_verdict
limit_judge(const struct doctor *d, struct doctor_finding *f, const char *title, uint64_t need,
            const char *option, const char *directive)
{
    uint64_t limit;

    if (d->stats.pid == 0 || d->config == NULL)
        return doctor_not_running(f);
    if (!limit_read(d, title, &limit))
        return doctor_unknown(f, "the limits of process %d cannot be read", d->stats.pid);
    if (limit >= need)
        return doctor_fine(f, "\"%s\" is enough", title);
    doctor_mend(f,
                "prlimit --pid %d --%s=%" PRIu64 ":%" PRIu64 "; for ever: %s=%" PRIu64
                " in systemctl edit msockd; then msockctl -r %s reload",
                d->stats.pid, option, need, need, directive, need, d->ctl->dir);
    return doctor_wrong(f, "\"%s\" is %" PRIu64 ", and the configuration needs %" PRIu64, title,
                        limit, need);
}

/* One worker may have all of the connections, when the others are being replaced. */
static enum doctor_verdict
look_descriptors(const struct doctor *d, struct doctor_finding *f)
{
    return limit_judge(d, f, "Max open files",
                       d->config != NULL ? d->config->max_connections + 256 : 0, "nofile",
                       "LimitNOFILE");
}

/* A reload doubles the workers for a while, and each has threads. */
static enum doctor_verdict
look_processes(const struct doctor *d, struct doctor_finding *f)
{
    return limit_judge(d, f, "Max processes", d->config != NULL ? d->config->workers * 8 + 64 : 0,
                       "nproc", "LimitNPROC");
}

static enum doctor_verdict
look_file_size(const struct doctor *d, struct doctor_finding *f)
{
    return limit_judge(d, f, "Max file size", UINT64_MAX, "fsize", "LimitFSIZE");
}

/* All that a control group holds of one kind, against its bound, 90 % being too much. */
static enum doctor_verdict
group_judge(const struct doctor *d, struct doctor_finding *f, const char *what, const char *mend)
{
    char path[64], text[DOCTOR_FILE_MAX], file[DOCTOR_FILE_MAX + 64];
    uint64_t now, most;
    char *group;

    if (d->stats.pid == 0)
        return doctor_not_running(f);
    snprintf(path, sizeof(path), "/proc/%d/cgroup", d->stats.pid);
    if (!doctor_read(d, path, text) || (group = strstr(text, "0::/")) == NULL)
        return doctor_unknown(f, "msockd is in no control group of version 2");
    group += 3;
    group[strcspn(group, "\n")] = '\0';
    snprintf(file, sizeof(file), "/sys/fs/cgroup%s/%s.max", group, what);
    if (!doctor_number(d, file, &most))
        return doctor_fine(f, "its control group has no bound");
    snprintf(file, sizeof(file), "/sys/fs/cgroup%s/%s.current", group, what);
    if (!doctor_number(d, file, &now))
        return doctor_unread(f, file);
    if (now <= most / 10 * 9)
        return doctor_fine(f, "%" PRIu64 " of %" PRIu64, now, most);
    doctor_mend(f, "systemctl set-property msockd %s=%" PRIu64, mend, most * 2);
    return doctor_wrong(f, "its control group has %" PRIu64 " of %" PRIu64, now, most);
}

static enum doctor_verdict
look_group_memory(const struct doctor *d, struct doctor_finding *f)
{
    return group_judge(d, f, "memory", "MemoryMax");
}

static enum doctor_verdict
look_group_tasks(const struct doctor *d, struct doctor_finding *f)
{
    return group_judge(d, f, "pids", "TasksMax");
}

static enum doctor_verdict
look_kernel(const struct doctor *d, struct doctor_finding *f)
{
    char list[KERNEL_LIST_LEN];

    (void)d;
    if (kernel_refused(0, KERNEL_CALLS, list) == 0)
        return doctor_fine(f, "it has every system call that msockd uses");
    doctor_mend(f, "a newer kernel, or a sandbox that allows them: docker run --security-opt "
                   "seccomp=PROFILE");
    return doctor_wrong(f, "it refuses %s: older calls do the work, or nothing can", list);
}

const struct doctor_check doctor_limits[] = {
    {"descriptors", look_descriptors},
    {"processes", look_processes},
    {"file-size", look_file_size},
    {"group-memory", look_group_memory},
    {"group-tasks", look_group_tasks},
    {"kernel", look_kernel},
    {NULL, NULL},
};

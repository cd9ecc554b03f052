/* Reads /proc/<pid>/stat, statm and fd. Everybody may read the first two, also of workers, which
 * cannot be dumped, and may ask a kernel from 6.2 on how many entries the third has. */
#include "proc.h"

#include "harness.h"

#include "support/signals.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct proc_stat {
    char state;
    pid_t parent;
    uint64_t ticks;
};

static bool
read_stat(pid_t pid, struct proc_stat *stat_out)
{
    char path[64], line[1024];
    unsigned long user = 0, sys = 0;
    size_t n = 0;
    char *after;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    line[n] = '\0';
    after = strrchr(line, ')'); /* the name before it may hold anything */
    if (after == NULL)
        return false;
    if (sscanf(after + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &stat_out->state,
               &stat_out->parent, &user, &sys) != 4)
        return false;
    stat_out->ticks = user + sys;
    return true;
}

static int
compare_pids(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

    return (x > y) - (x < y);
}

void
proc_children(pid_t parent, struct proc_list *list_out)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    struct proc_stat st;

    list_out->count = 0;
    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL && list_out->count < PROC_MAX) {
        pid_t pid = (pid_t)atoi(entry->d_name);

        if (pid > 0 && read_stat(pid, &st) && st.parent == parent && st.state != 'Z')
            list_out->pid[list_out->count++] = pid;
    }
    closedir(dir);
    qsort(list_out->pid, list_out->count, sizeof(pid_t), compare_pids);
}

bool
proc_list_equal(const struct proc_list *a, const struct proc_list *b)
{
    return a->count == b->count && memcmp(a->pid, b->pid, a->count * sizeof(pid_t)) == 0;
}

bool
proc_list_has(const struct proc_list *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->pid[i] == pid)
            return true;
    return false;
}

bool
proc_alive(pid_t pid)
{
    struct proc_stat st;

    return read_stat(pid, &st) && st.state != 'Z' && st.state != 'X';
}

uint64_t
proc_memory(pid_t pid)
{
    unsigned long resident = 0, shared = 0;
    char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%*u %lu %lu", &resident, &shared) != 2)
        resident = shared = 0;
    fclose(f);
    return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t
proc_memory_peak(pid_t pid)
{
    char path[64], line[128];
    unsigned long long kib = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
            break;
    fclose(f);
    return kib * 1024;
}

static bool
is_stopped(pid_t pid)
{
    struct proc_stat st;

    return read_stat(pid, &st) && st.state == 'T';
}

void
proc_stop(pid_t pid)
{
    assert_int_equal(signal_send(pid, SIGSTOP), 0);
    WAIT_FOR(is_stopped(pid), 20000);
}

void
proc_go_on(pid_t pid)
{
    assert_int_equal(signal_send(pid, SIGCONT), 0);
    WAIT_FOR(!is_stopped(pid), 20000);
}

void
proc_stop_all(const struct proc_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        proc_stop(list->pid[i]);
}

void
proc_go_on_all(const struct proc_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        proc_go_on(list->pid[i]);
}

uint64_t
proc_cpu_ticks(pid_t pid)
{
    struct proc_stat st;

    return read_stat(pid, &st) ? st.ticks : 0;
}

bool
proc_may_look(pid_t pid)
{
    return proc_descriptors(pid) >= 0;
}

int
proc_descriptors(pid_t pid)
{
    static bool said;
    struct stat st;
    char path[64];
    int count = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    if (stat(path, &st) == 0 && st.st_size > 0)
        return (int)st.st_size;
    dir = opendir(path);
    if (dir == NULL && errno == EACCES && !said)
        said =
            fputs("skipped: only root may look at the descriptors of workers here\n", stderr) >= 0;
    if (dir == NULL)
        return -1;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 2;
}

uint64_t
proc_status(pid_t pid, const char *name, int base)
{
    char path[64], *text, *at;
    uint64_t value;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    text = harness_read_file(path, NULL);
    assert_non_null(text);
    at = strstr(text, name);
    assert_non_null(at);
    value = strtoull(at + strlen(name), NULL, base);
    free(text);
    return value;
}

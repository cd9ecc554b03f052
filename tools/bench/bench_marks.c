/* What is read at the beginning and at the end of the measured time. */
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

uint64_t
bench_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* User and system time of all threads, also of those that have ended, in seconds. */
static double
marks_process_cpu(const char *pid)
{
    unsigned long user = 0, system = 0;
    char path[64], line[1024] = "";
    const char *after;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fgets(line, sizeof(line), f) != NULL && (after = strrchr(line, ')')) != NULL)
        (void)!sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                      &system);
    fclose(f);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double
bench_cpu_of(const char *pids)
{
    double sum = 0;
    char *copy, *rest, *pid;

    if (pids == NULL)
        return 0;
    copy = rest = ms_strdup(pids);
    while ((pid = strsep(&rest, ",")) != NULL)
        if (*pid != '\0')
            sum += marks_process_cpu(pid);
    free(copy);
    return sum;
}

int64_t
bench_flushes_of(const char *path)
{
    struct stat st;
    unsigned device_major, device_minor;
    long long flushes, found = -1;
    char line[512];
    FILE *f;

    if (path == NULL || stat(path, &st) < 0 || (f = fopen("/proc/diskstats", "re")) == NULL)
        return -1;
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line,
                   "%u %u %*s %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %lld",
                   &device_major, &device_minor, &flushes) == 3 &&
            device_major == major(st.st_dev) && device_minor == minor(st.st_dev))
            found = flushes;
    fclose(f);
    return found;
}

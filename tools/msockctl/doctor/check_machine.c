/* Clock and memory of the machine. */
#include "doctor.h"

#include "handler/journal/segment_list.h"

#include <inttypes.h>
#include <sys/timex.h>

#define CLOCK_SOURCE "/sys/devices/system/clocksource/clocksource0/"
#define SLACK_US     UINT64_C(60000000) /* clocks of disks that are elsewhere differ a little */

/* --- the clock --- */

static enum doctor_verdict
look_clock(const struct doctor *d, struct doctor_finding *f)
{
    struct timex tx = {0};

    (void)d;
    if (adjtimex(&tx) != TIME_ERROR)
        return doctor_fine(f, "the clock is synchronized");
    doctor_mend(f, "timedatectl set-ntp true, or: apt-get install chrony");
    return doctor_wrong(f, "nobody synchronizes the clock: times and ids in the journal drift");
}

static void
newest_found(void *arg, const struct listed_segment *segment)
{
    uint64_t *newest_us = arg;

    if (segment->written_us > *newest_us)
        *newest_us = segment->written_us;
}

static void
newest_unread(void *arg, const char *name, int error)
{
    (void)arg;
    (void)name;
    (void)error;
}

static enum doctor_verdict
look_clock_back(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t newest_us = 0, now_us = clock_real_us();
    const struct segment_list list = {d->data_dir, newest_found, newest_unread, &newest_us};

    if (d->data_dir[0] == '\0' || segment_list_run(&list) < 0)
        return doctor_unknown(f, "there is no journal that can be read");
    if (newest_us <= now_us + SLACK_US)
        return doctor_fine(f, "the journal is not ahead of the clock");
    doctor_mend(f, "chronyc makestep, or: timedatectl set-ntp true");
    return doctor_wrong(f,
                        "the clock was set back: the journal was written %" PRIu64
                        " s from now, and new segments sort before it",
                        (newest_us - now_us) / 1000000);
}

static enum doctor_verdict
look_clock_source(const struct doctor *d, struct doctor_finding *f)
{
    static const char *const slow[] = {"hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"};
    char text[DOCTOR_FILE_MAX];

    if (!doctor_read(d, CLOCK_SOURCE "current_clocksource", text))
        return doctor_unread(f, CLOCK_SOURCE "current_clocksource");
    text[strcspn(text, "\n")] = '\0';
    for (size_t i = 0; i < MS_ARRAY_LEN(slow); i++) {
        if (strcmp(text, slow[i]) != 0)
            continue;
        doctor_mend(f, "cat " CLOCK_SOURCE "available_clocksource; echo tsc >" CLOCK_SOURCE
                       "current_clocksource");
        return doctor_wrong(f, "the time comes from %s: each look at the clock is a slow call",
                            text);
    }
    return doctor_fine(f, "the time comes from %.64s", text);
}

/* --- memory --- */

static enum doctor_verdict
look_memory(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t total, available;

    if (!doctor_field(d, "/proc/meminfo", "MemTotal:", &total) ||
        !doctor_field(d, "/proc/meminfo", "MemAvailable:", &available))
        return doctor_unread(f, "/proc/meminfo");
    if (available >= total / 10)
        return doctor_fine(f, "%" PRIu64 " MiB of %" PRIu64 " MiB are available", available / 1024,
                           total / 1024);
    doctor_mend(f, "ps -eo pid,rss,comm --sort=-rss | head");
    return doctor_wrong(f, "only %" PRIu64 " MiB of %" PRIu64 " MiB are available",
                        available / 1024, total / 1024);
}

/* What the configuration lets the workers have, and those of the next generation beside them. */
static enum doctor_verdict
look_memory_bound(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t total, most_kib;

    if (d->config == NULL)
        return doctor_unknown(f, "the configuration is not known: %s", d->config_error);
    if (!doctor_field(d, "/proc/meminfo", "MemTotal:", &total))
        return doctor_unread(f, "/proc/meminfo");
    most_kib = d->config->workers * 2 * (d->config->worker_memory_max / 1024);
    if (most_kib <= total)
        return doctor_fine(f, "the workers' bound is below the memory of the machine");
    doctor_mend(f, "set worker_memory_max = %" PRIu64 "M, then: msockctl -r %s reload",
                total / 1024 / d->config->workers / 4 + 1, d->ctl->dir);
    return doctor_wrong(
        f, "%u workers may have %" PRIu64 " MiB during a reload; the machine has %" PRIu64 " MiB",
        d->config->workers, most_kib / 1024, total / 1024);
}

static enum doctor_verdict
look_overcommit(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t mode;

    if (!doctor_number(d, "/proc/sys/vm/overcommit_memory", &mode))
        return doctor_unread(f, "/proc/sys/vm/overcommit_memory");
    if (mode != 2)
        return doctor_fine(f, "vm.overcommit_memory = %" PRIu64, mode);
    doctor_mend(f, "sysctl -w vm.overcommit_memory=0");
    return doctor_wrong(f, "vm.overcommit_memory is 2: a reload, which forks, may find no memory "
                           "though much is free");
}

static enum doctor_verdict
look_swap(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t sum = 0, kib;

    if (d->stats.pid == 0)
        return doctor_not_running(f);
    for (unsigned i = 0; i < d->stats.worker_count; i++)
        if (doctor_process_field(d, d->stats.workers[i].pid, "status", "VmSwap:", &kib))
            sum += kib;
    if (sum < 1024)
        return doctor_fine(f, "the workers are in memory");
    doctor_mend(f, "systemctl set-property msockd MemorySwapMax=0; swapoff -a && swapon -a");
    return doctor_wrong(f, "%" PRIu64 " MiB of the workers are swapped out", sum / 1024);
}

static enum doctor_verdict
look_oom(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t kills;

    if (!doctor_field(d, "/proc/vmstat", "\noom_kill ", &kills))
        return doctor_unread(f, "/proc/vmstat");
    if (kills == 0)
        return doctor_fine(f, "no process was killed for want of memory");
    doctor_mend(f, "journalctl -k -g 'out of memory'; systemctl edit msockd: OOMScoreAdjust=-900");
    return doctor_wrong(f, "the kernel has killed %" PRIu64 " processes for want of memory", kills);
}

/* --- pressure: the part of the last minute in which all tasks waited --- */

static enum doctor_verdict
pressure_judge(const struct doctor *d, struct doctor_finding *f, const char *what, double most,
               const char *mend)
{
    char path[64], text[DOCTOR_FILE_MAX];
    const char *full;
    double share;

    snprintf(path, sizeof(path), "/proc/pressure/%s", what);
    if (!doctor_read(d, path, text) || (full = strstr(text, "full ")) == NULL ||
        sscanf(full, "full avg10=%*f avg60=%lf", &share) != 1)
        return doctor_unread(f, path);
    if (share <= most)
        return doctor_fine(f, "all tasks waited for %s for %.1f %% of the last minute", what,
                           share);
    doctor_mend(f, "%s", mend);
    return doctor_wrong(f, "all tasks waited for %s for %.1f %% of the last minute", what, share);
}

static enum doctor_verdict
look_io_pressure(const struct doctor *d, struct doctor_finding *f)
{
    return pressure_judge(d, f, "io", 20, "iotop -obn 3, or: pidstat -d 1 5");
}

static enum doctor_verdict
look_memory_pressure(const struct doctor *d, struct doctor_finding *f)
{
    return pressure_judge(d, f, "memory", 5, "ps -eo pid,rss,comm --sort=-rss | head");
}

const struct doctor_check doctor_machine[] = {
    {"clock", look_clock},
    {"clock-back", look_clock_back},
    {"clock-source", look_clock_source},
    {"memory", look_memory},
    {"memory-bound", look_memory_bound},
    {"overcommit", look_overcommit},
    {"swap", look_swap},
    {"oom", look_oom},
    {"io-pressure", look_io_pressure},
    {"memory-pressure", look_memory_pressure},
    {NULL, NULL},
};

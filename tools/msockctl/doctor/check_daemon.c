/* Of the msockd itself: who runs, what it was told, what its counters say. */
#include "doctor.h"

#include "common/lock_look.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static enum doctor_verdict
look_running(const struct doctor *d, struct doctor_finding *f)
{
    if (d->stats.pid > 0)
        return doctor_fine(f, "msockd %s runs as process %d", d->stats.version, d->stats.pid);
    if (d->unread[0] != '\0') {
        doctor_mend(f, "ls -l /proc/$(cat %s/msockd.pid)/exe, and run the msockctl beside it",
                    d->ctl->dir);
        return doctor_wrong(f, "a msockd runs, and cannot be read: %s", d->unread);
    }
    doctor_mend(f, "systemctl start msockd, or: msockd -r %s", d->ctl->dir);
    return doctor_wrong(f, "no msockd runs in %s", d->ctl->dir);
}

static enum doctor_verdict
look_workers(const struct doctor *d, struct doctor_finding *f)
{
    unsigned ready = snapshot_ready(&d->stats);

    if (d->stats.pid == 0)
        return doctor_not_running(f);
    if (ready >= d->stats.workers_wanted)
        return doctor_fine(f, "%u workers are ready", ready);
    doctor_mend(f, "msockctl -r %s workers, and the log: journalctl -u msockd -p err", d->ctl->dir);
    return doctor_wrong(f, "only %u of %u workers take connections", ready,
                        d->stats.workers_wanted);
}

static enum doctor_verdict
look_restarts(const struct doctor *d, struct doctor_finding *f)
{
    unsigned restarts = 0;

    if (d->stats.pid == 0)
        return doctor_not_running(f);
    for (unsigned i = 0; i < d->stats.worker_count; i++)
        restarts += d->stats.workers[i].restarts;
    if (restarts == 0)
        return doctor_fine(f, "no worker of this generation had to be replaced");
    doctor_mend(f,
                "journalctl -u msockd -p warning; coredumpctl info msockd; a reload counts anew");
    return doctor_wrong(f, "workers of this generation were replaced %u times", restarts);
}

static enum doctor_verdict
look_reload(const struct doctor *d, struct doctor_finding *f)
{
    if (d->stats.pid == 0)
        return doctor_not_running(f);
    if (d->stats.verdict != STATS_VERDICT_FAILED)
        return doctor_fine(f, "the last reload did not fail");
    doctor_mend(f, "mend the configuration, then: msockctl -r %s reload", d->ctl->dir);
    return doctor_wrong(f, "the last reload failed: %s", d->stats.reload_text);
}

#define RELAY_LATE_US UINT64_C(60000000)

/* What waits, waits for an error of this minute, or for longer than a minute. */
static enum doctor_verdict
look_relay(const struct doctor *d, struct doctor_finding *f)
{
    const struct stats_relay *r = d->stats.relay;
    const uint64_t late_us = clock_real_us() - RELAY_LATE_US;
    bool is_blind;

    if (d->stats.pid == 0)
        return doctor_not_running(f);
    if (r == NULL)
        return doctor_fine(f, "there is no relay");
    is_blind = r->records == 0 && r->counting && r->error_us > late_us;
    if (!is_blind && (r->records == 0 || (r->oldest_us > late_us && r->error_us < late_us)))
        return doctor_fine(f, "the relay is %" PRIu64 " records behind", r->records);
    doctor_mend(f, "msockctl -r %s relay; nats stream info %s", d->ctl->dir, r->stream);
    if (is_blind)
        return doctor_wrong(f, "the relay does not see the journal: %s", r->error);
    return doctor_wrong(f, "the relay is %" PRIu64 " records behind: %s", r->records,
                        r->error[0] != '\0' ? r->error : "the stream is slow");
}

/* An upgrade puts another file in the place of the one that runs. */
static enum doctor_verdict
look_program(const struct doctor *d, struct doctor_finding *f)
{
    char link[64], path[PATH_MAX];
    ssize_t n;

    if (d->stats.pid == 0)
        return doctor_not_running(f);
    snprintf(link, sizeof(link), "/proc/%d/exe", d->stats.pid);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return doctor_unread(f, link);
    path[n] = '\0';
    if (strstr(path, " (deleted)") == NULL)
        return doctor_fine(f, "%s is the program that runs", path);
    doctor_mend(f, "systemctl restart msockd");
    return doctor_wrong(f, "the program that runs was replaced on the disk since");
}

/* --- leftovers: processes of an earlier msockd that still hold the data directory --- */

struct leftover {
    const struct doctor *d;
    long pid;
};

static bool
leftover_is(void *arg, const struct lock_seen *seen)
{
    struct leftover *l = arg;

    if (seen->pid == l->d->stats.pid || !process_is(seen->pid, (uid_t)-1, "msockd"))
        return false;
    for (unsigned i = 0; i < l->d->stats.worker_count; i++)
        if (l->d->stats.workers[i].pid == seen->pid)
            return false;
    l->pid = seen->pid;
    return true;
}

static enum doctor_verdict
look_leftovers(const struct doctor *d, struct doctor_finding *f)
{
    struct leftover l = {.d = d};
    struct stat st;

    if (d->data_dir[0] == '\0' || stat(d->data_dir, &st) < 0)
        return doctor_unknown(f, "the data directory is not known or cannot be read");
    if (!lock_look(&st, leftover_is, &l) && geteuid() != 0)
        return doctor_unknown(f, "only root sees what workers have open");
    if (l.pid == 0)
        return doctor_fine(f, "no process of an earlier msockd is left");
    doctor_mend(f, "kill -KILL %ld", l.pid);
    return doctor_wrong(f, "process %ld of an earlier msockd still holds %s", l.pid, d->data_dir);
}

/* Has the process this file open? */
static bool
log_is_open(int pid, const struct stat *file)
{
    const struct dirent *entry;
    bool found = false;
    struct stat st;
    char path[64];
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    dir = opendir(path);
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found = fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && st.st_ino == file->st_ino &&
                st.st_dev == file->st_dev;
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* Moved away by logrotate, and msockd was never told. */
static enum doctor_verdict
look_log(const struct doctor *d, struct doctor_finding *f)
{
    const char *file = d->config != NULL ? d->config->log_file : NULL;
    struct stat st;

    if (d->stats.pid == 0)
        return doctor_not_running(f);
    if (file == NULL)
        return doctor_fine(f, "no log_file is configured");
    if (stat(file, &st) == 0 && log_is_open(d->stats.pid, &st))
        return doctor_fine(f, "%s is the file that is written", file);
    doctor_mend(f, "msockctl -r %s reopen", d->ctl->dir);
    return doctor_wrong(f, "%s is not the log that msockd has open: it was moved or removed", file);
}

/* --- counters --- */

static enum doctor_verdict
look_refused(const struct doctor *d, struct doctor_finding *f)
{
    const struct stats_counts *c = &d->stats.total.counts;

    if (!d->known)
        return doctor_not_running(f);
    if (c->refused * DOCTOR_MANY <= c->accepted + c->refused)
        return doctor_fine(f, "%" PRIu64 " connections were turned away of %" PRIu64, c->refused,
                           c->accepted + c->refused);
    doctor_mend(f, "raise max_connections in the configuration, then: msockctl -r %s reload",
                d->ctl->dir);
    return doctor_wrong(f, "%" PRIu64 " connections of %" PRIu64 " were turned away", c->refused,
                        c->accepted + c->refused);
}

static enum doctor_verdict
look_damage(const struct doctor *d, struct doctor_finding *f)
{
    const struct stats_counts *c = &d->stats.total.counts;

    if (!d->known)
        return doctor_not_running(f);
    if (c->nack1 * DOCTOR_MANY <= c->packets + c->nack1)
        return doctor_fine(f, "%" PRIu64 " packets of %" PRIu64 " came damaged", c->nack1,
                           c->packets + c->nack1);
    doctor_mend(f, "msockctl -r %s conns --sort nack1; ip -s link; ethtool -S DEVICE", d->ctl->dir);
    return doctor_wrong(f,
                        "%" PRIu64 " packets of %" PRIu64 " came damaged: a network card, its "
                        "driver or a box on the way",
                        c->nack1, c->packets + c->nack1);
}

static enum doctor_verdict
look_ids(const struct doctor *d, struct doctor_finding *f)
{
    const struct stats_counts *c = &d->stats.total.counts;

    if (!d->known)
        return doctor_not_running(f);
    if (c->untracked + c->evicted == 0)
        return doctor_fine(f, "every id is remembered for its dedup_window");
    doctor_mend(f, "raise dedup_max in the configuration, then: systemctl restart msockd");
    return doctor_wrong(f,
                        "%" PRIu64 " ids were forgotten before their time or never kept: copies "
                        "of these messages are taken for new ones",
                        c->untracked + c->evicted);
}

const struct doctor_check doctor_daemon[] = {
    {"running", look_running},        {"workers", look_workers},   {"restarts", look_restarts},
    {"reload", look_reload},          {"relay", look_relay},       {"program", look_program},
    {"leftovers", look_leftovers},    {"log-file", look_log},      {"refused", look_refused},
    {"damaged-packets", look_damage}, {"forgotten-ids", look_ids}, {NULL, NULL},
};

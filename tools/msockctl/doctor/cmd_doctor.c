/* msockctl doctor: gathers once what the checks look at, runs them, and prints what they say. */
#include "doctor.h"

#include "common/fd.h"
#include "config/config_settings.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define WORDS_MAX 256

static const struct doctor_check *const groups[] = {doctor_daemon,  doctor_config,  doctor_limits,
                                                    doctor_network, doctor_machine, doctor_disk};

static const char *const verdicts[] = {"fine", "WRONG", "unknown"};

/* --- what there is to know --- */

/* The configuration that a msockd with this command line would have now. */
static void
config_from(struct doctor *d, int argc, char *argv[], const char *cwd)
{
    struct args args;

    d->config_wrong = args_parse(argc, argv, &args, d->config_error) < 0 ||
                      config_build(&args.config, cwd, &d->config, d->config_error) < 0;
}

static void
config_of_process(struct doctor *d, int pid)
{
    char link[64], text[DOCTOR_FILE_MAX], *argv[WORDS_MAX + 1], *at = text;
    const char *cwd = d->stats.cwd[0] != '\0' ? d->stats.cwd : NULL;
    int argc = 0, fd;
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/%d/cmdline", pid);
    fd = open(link, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : fd_read(fd, text, sizeof(text) - 1);
    fd_close(&fd);
    snprintf(link, sizeof(link), "/proc/%d/cwd", pid);
    if (n <= 0 || access(link, F_OK) < 0) { /* whoever may not look there may not read its files */
        snprintf(d->config_error, sizeof(d->config_error),
                 "process %d may not be looked at: be its user or root", pid);
        return;
    }
    text[n] = '\0';
    for (; at < text + n && argc < WORDS_MAX; at += strlen(at) + 1)
        argv[argc++] = at;
    argv[argc] = NULL;
    config_from(d, argc, argv, cwd);
}

static void
config_of_file(struct doctor *d, const char *file)
{
    char cwd[PATH_MAX], *argv[] = {(char *)"msockd", (char *)"-c", (char *)(uintptr_t)file, NULL};

    config_from(d, 3, argv, getcwd(cwd, sizeof(cwd)));
}

/* Messages about what is not there are the checks' to say. */
static void
doctor_gather(struct doctor *d, const struct ctl *ctl, const char *file)
{
    struct buffer unheard;
    struct ctl quiet = *ctl;

    buffer_init(&unheard);
    quiet.errors = &unheard;
    d->known = snapshot_take(&quiet, &d->stats) == EX_OK;
    if (d->stats.alive == SNAPSHOT_DEAD)
        d->stats.pid = 0;
    if (!d->known && unheard.len > 0 && stats_reader_lock_held(ctl->dir) == 1)
        snprintf(d->unread, sizeof(d->unread), "%.*s", (int)strcspn(buffer_cstr(&unheard), "\n"),
                 buffer_cstr(&unheard));
    buffer_fini(&unheard);
    if (file != NULL)
        config_of_file(d, file);
    else if (d->stats.pid > 0)
        config_of_process(d, d->stats.pid);
    else
        snprintf(d->config_error, sizeof(d->config_error),
                 "no msockd can be read here; name its file with --config");
    if (d->config != NULL)
        snprintf(d->data_dir, sizeof(d->data_dir), "%s", d->config->data_dir);
    else
        snprintf(d->data_dir, sizeof(d->data_dir), "%s", d->stats.data_dir);
}

/* --- the checks --- */

static json_t *
check_run(const struct doctor *d, const struct doctor_check *check, unsigned counts[3])
{
    struct doctor_finding f = {0};
    enum doctor_verdict verdict = check->look(d, &f);
    json_t *row = json_object();

    counts[verdict]++;
    json_put(row, "check", json_string(check->name));
    json_put(row, "verdict", json_string(verdicts[verdict]));
    json_put(row, "text", json_text(f.text));
    json_put(row, "mend", json_text(verdict == DOCTOR_WRONG ? f.mend : ""));
    return row;
}

/* All checks, or the one with that name. */
static json_t *
checks_run(const struct doctor *d, const char *name, unsigned counts[3])
{
    json_t *rows = json_array();

    for (size_t i = 0; i < MS_ARRAY_LEN(groups); i++)
        for (const struct doctor_check *check = groups[i]; check->name != NULL; check++)
            if (name == NULL || strcmp(check->name, name) == 0)
                json_array_append_new(rows, check_run(d, check, counts));
    return rows;
}

static void
rows_say(const json_t *rows, const unsigned counts[3])
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *mend = json_string_value(json_object_get(row, "mend"));

        ctl_print("%-7s  %-17s  %s", json_string_value(json_object_get(row, "verdict")),
                  json_string_value(json_object_get(row, "check")),
                  json_string_value(json_object_get(row, "text")));
        if (mend[0] != '\0')
            ctl_print("%-7s  %-17s  -> %s", "", "", mend);
    }
    ctl_print("%u fine, %u wrong, %u unknown", counts[DOCTOR_FINE], counts[DOCTOR_WRONG],
              counts[DOCTOR_UNKNOWN]);
}

static int
doctor_run(struct ctl *ctl, int argc, char *argv[])
{
    bool json = false;
    const char *file = NULL, *root = "", *name = NULL;
    const struct ctl_option options[] = {{"json", &json, NULL},
                                         {"config", NULL, &file},
                                         {"root", NULL, &root},
                                         {CTL_OPERAND, NULL, &name}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    struct doctor d = {.ctl = ctl};
    unsigned counts[3] = {0};
    json_t *rows;

    if (status != CTL_GO_ON)
        return status;
    d.root = root;
    doctor_gather(&d, ctl, file);
    rows = checks_run(&d, name, counts);
    snapshot_fini(&d.stats);
    config_destroy(d.config);
    if (json_array_size(rows) == 0) {
        json_decref(rows);
        return ctl_usage(ctl, "there is no check \"%s\"", name);
    }
    if (json) {
        json_print(rows, false);
    } else {
        rows_say(rows, counts);
        json_decref(rows);
    }
    return ctl_finish(ctl, counts[DOCTOR_WRONG] > 0);
}

const struct ctl_command ctl_doctor = {
    .name = "doctor",
    .summary = "what is wrong with this machine and msockd, and what mends it",
    .help =
        "usage: msockctl [-r DIR] doctor [OPTION]... [CHECK]\n"
        "Looks at all that msockd depends on and changes nothing: the daemon and its counters,\n"
        "its configuration, limits, the network, clock, memory and disk. Each line is fine,\n"
        "WRONG with the command that mends it, or unknown. Exit status 1 where one is WRONG.\n"
        "With the name of a check: that one alone.\n\n"
        "  --json         an array of objects: check, verdict, text, mend\n"
        "  --config FILE  the configuration to look at (default: that of the msockd that runs)\n"
        "  --root DIR     files beneath DIR count instead of those of /proc and /sys\n",
    .run = doctor_run,
};

/* What checks read, and what they say. */
#include "doctor.h"

#include "common/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static void MS_PRINTF(3, 0) say(char *out, size_t size, const char *fmt, va_list ap)
{
    vsnprintf(out, size, fmt, ap);
}

#define SAY(out, fmt)                     \
    do {                                  \
        va_list ap;                       \
                                          \
        va_start(ap, fmt);                \
        say((out), sizeof(out), fmt, ap); \
        va_end(ap);                       \
    } while (0)

enum doctor_verdict
doctor_fine(struct doctor_finding *f, const char *fmt, ...)
{
    SAY(f->text, fmt);
    return DOCTOR_FINE;
}

enum doctor_verdict
doctor_wrong(struct doctor_finding *f, const char *fmt, ...)
{
    SAY(f->text, fmt);
    return DOCTOR_WRONG;
}

enum doctor_verdict
doctor_unknown(struct doctor_finding *f, const char *fmt, ...)
{
    SAY(f->text, fmt);
    return DOCTOR_UNKNOWN;
}

void
doctor_mend(struct doctor_finding *f, const char *fmt, ...)
{
    SAY(f->mend, fmt);
}

enum doctor_verdict
doctor_unread(struct doctor_finding *f, const char *path)
{
    return doctor_unknown(f, "%s cannot be read here", path);
}

enum doctor_verdict
doctor_not_running(struct doctor_finding *f)
{
    return doctor_unknown(f, "no msockd can be read here");
}

/* --- files --- */

/* Files of the kernel have no size that could be asked for. */
static bool
file_read(const char *path, char out[DOCTOR_FILE_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = -1;

    while (fd >= 0 && len < DOCTOR_FILE_MAX - 1 &&
           (n = fd_read(fd, out + len, DOCTOR_FILE_MAX - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    fd_close(&fd);
    return n >= 0;
}

bool
doctor_read(const struct doctor *d, const char *path, char out[DOCTOR_FILE_MAX])
{
    char there[PATH_MAX];

    if (d->root[0] != '\0' &&
        snprintf(there, sizeof(there), "%s%s", d->root, path) < (int)sizeof(there) &&
        file_read(there, out))
        return true;
    return file_read(path, out);
}

bool
doctor_number(const struct doctor *d, const char *path, uint64_t *out)
{
    return doctor_field(d, path, "", out);
}

bool
doctor_field(const struct doctor *d, const char *path, const char *word, uint64_t *out)
{
    char text[DOCTOR_FILE_MAX], *end;
    const char *at;

    if (!doctor_read(d, path, text) || (at = strstr(text, word)) == NULL)
        return false;
    at += strlen(word);
    *out = strtoull(at, &end, 10);
    return end != at;
}

bool
doctor_process_field(const struct doctor *d, int pid, const char *name, const char *word,
                     uint64_t *out)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    return doctor_field(d, path, word, out);
}

uint64_t
doctor_backlog(const struct doctor *d)
{
    uint64_t most = 0;

    for (size_t i = 0; d->config != NULL && i < d->config->listener_count; i++)
        if (d->config->listeners[i].number[OPTION_BACKLOG] > most)
            most = d->config->listeners[i].number[OPTION_BACKLOG];
    return most;
}

/* Lines of a stream as messages: one connection, each line sent before the one before is answered,
 * in order. A line leaves as soon as nothing more is waiting to be read, and reading stops while
 * the server is behind, so a slow server slows down who writes to us. */
#include "command.h"

#include "common/base.h"
#include "common/text.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define LINES_READ  65536
#define LINES_MAX   ((size_t)256 << 20) /* bytes of one line */
#define LINES_OUT   2048u               /* without a report: more than the library lets be */
#define LINES_SPACE " \t\r"

struct lines {
    const struct session_options *options;
    msock *m;
    char kind;
    int fd;
    struct buffer input;         /* read, and not sent yet */
    uint64_t line;               /* of the input, the last one that was sent */
    uint64_t sent;               /* messages */
    uint64_t numbers[LINES_OUT]; /* the line of each message without a report, by its number */
    uint64_t committed, refused, failed;
    bool ended; /* by a failure of the connection, which is reported */
    int status;
};

static volatile sig_atomic_t lines_stopped;

static void
lines_on_signal(int signo)
{
    (void)signo;
    lines_stopped = 1;
}

/* The first signal ends the reading in good order, a second one ends the program. */
static void
lines_catch_signals(void)
{
    const struct sigaction action = {.sa_handler = lines_on_signal, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* A line that was not taken; the others go on. The library refuses what cannot be sent. */
static void
lines_refused(struct lines *l, uint64_t line)
{
    l->refused++;
    say_error("line %llu: %s", (unsigned long long)line, msock_error(l->m));
    l->status = session_worse(l->status, EX_DATAERR);
}

static void
lines_failed(struct lines *l, uint64_t line, enum msock_status status)
{
    struct session_result result = {.status = status};

    l->failed++;
    /* A failure that ended them all is reported once, at its first line. */
    if (!l->ended)
        say_error("line %llu: %s", (unsigned long long)line, msock_error(l->m));
    l->status = session_worse(l->status, session_status(l->m, &result));
}

static void
lines_settled(void *arg, uint64_t number, enum msock_status status)
{
    struct lines *l = arg;
    uint64_t line = l->numbers[number % LINES_OUT];

    session_say_server(l->options, l->m);
    if (status == MSOCK_OK) {
        l->committed++;
    } else if (status == MSOCK_REFUSED || status == MSOCK_USAGE) {
        lines_refused(l, line);
    } else {
        lines_failed(l, line, status);
        l->ended = true;
    }
}

/* A line without anything in it is no document. */
static bool
lines_is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strchr(LINES_SPACE, text[i]) == NULL || text[i] == '\0')
            return false;
    return true;
}

/* False where nothing more can be sent. */
static bool
lines_send(struct lines *l, const char *text, size_t n)
{
    enum msock_status status;

    l->line++;
    if (l->kind == 'J' && lines_is_blank(text, n))
        return true;
    l->numbers[l->sent % LINES_OUT] = l->line;
    status = msock_send_ahead(l->m, l->kind, text, n);
    if (status == MSOCK_USAGE || status == MSOCK_LOCAL) {
        if (status == MSOCK_USAGE)
            lines_refused(l, l->line);
        else
            lines_failed(l, l->line, status);
        return true;
    }
    l->sent++;
    return status == MSOCK_OK;
}

/* Sends every line that is there as a whole; at the end of the input also what is behind the last
 * one. */
static bool
lines_send_all(struct lines *l, bool at_end)
{
    struct buffer *input = &l->input;
    const char *newline;
    bool good = true;

    while (good && input->len > 0 &&
           (newline = memchr(buffer_bytes(input), '\n', input->len)) != NULL) {
        size_t n = (size_t)(newline - buffer_bytes(input));

        good = lines_send(l, buffer_bytes(input), n);
        buffer_consume(input, n + 1);
    }
    if (good && at_end && input->len > 0) {
        good = lines_send(l, buffer_bytes(input), input->len);
        buffer_clear(input);
    }
    return good;
}

/* Sleeps until there is something to do. A signal that came before is seen, since none can come
 * between the look and the sleep. */
static void
lines_sleep(struct pollfd *fds, nfds_t n, const struct timespec *timeout)
{
    sigset_t stops, before;

    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, &before);
    if (!lines_stopped)
        (void)ppoll(fds, n, timeout, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

/* Waits for input, and lets the connection go on meanwhile. False: a signal, or the connection has
 * ended for good. */
static bool
lines_wait(struct lines *l)
{
    static const struct timespec look = {.tv_sec = 1}; /* at the library's patience */

    while (!lines_stopped) {
        struct pollfd fds[] = {{.fd = l->fd, .events = POLLIN}, {.fd = -1}};
        enum msock_status status;

        if (poll(fds, 1, 0) > 0)
            return true;
        status = msock_flush(l->m, 0);
        if (status == MSOCK_TIMEOUT)
            fds[1] = (struct pollfd){.fd = msock_fd(l->m), .events = msock_events(l->m)};
        else if (status != MSOCK_OK)
            return false;
        lines_sleep(fds, 2, status == MSOCK_TIMEOUT ? &look : NULL);
    }
    return false;
}

static int
lines_run(struct lines *l)
{
    ssize_t n = 1;
    size_t room;

    while (n != 0 && lines_wait(l)) {
        room = l->input.len > LINES_READ ? l->input.len : LINES_READ;
        if (l->input.len > LINES_MAX) {
            say_error("line %llu is longer than 256 MiB", (unsigned long long)l->line + 1);
            return EX_DATAERR;
        }
        n = read(l->fd, buffer_reserve(&l->input, room), room);
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            say_error("cannot read the input: %s", strerror(errno));
            return EX_NOINPUT;
        }
        if (n > 0)
            buffer_added(&l->input, (size_t)n);
        if (!lines_send_all(l, n == 0))
            break;
    }
    return EX_OK;
}

static void
lines_report(const struct lines *l, double seconds)
{
    const char *done = msock_acknowledges(l->m) ? "committed" : "sent";

    if (l->options->json) {
        printf("{\"status\":\"%s\",\"lines\":%llu,\"%s\":%llu,\"refused\":%llu,\"failed\":%llu,"
               "\"seconds\":%.6f}\n",
               l->status == EX_OK ? "ok"
               : l->failed > 0    ? "failed"
                                  : "refused",
               (unsigned long long)l->line, done, (unsigned long long)l->committed,
               (unsigned long long)l->refused, (unsigned long long)l->failed, seconds);
        return;
    }
    if (l->options->quiet)
        return;
    fprintf(stderr, "msock: %llu line%s %s", (unsigned long long)l->committed,
            l->committed == 1 ? "" : "s", done);
    if (l->refused > 0)
        fprintf(stderr, ", %llu refused", (unsigned long long)l->refused);
    if (l->failed > 0)
        fprintf(stderr, ", %llu failed", (unsigned long long)l->failed);
    fputc('\n', stderr);
}

int
send_lines(const struct session_options *options, msock *m, char kind, int fd)
{
    struct lines *l = ms_malloc(sizeof(*l));
    uint64_t began = clock_mono_us();
    int rc;

    *l = (struct lines){.options = options, .m = m, .kind = kind, .fd = fd};
    buffer_init(&l->input);
    lines_catch_signals();
    msock_set_settled(m, lines_settled, l);
    rc = lines_run(l);
    (void)msock_flush(m, -1); /* lines_settled has said what is wrong */
    l->status = session_worse(l->status, rc);
    lines_report(l, (double)(clock_mono_us() - began) / 1e6);
    msock_set_settled(m, NULL, NULL);
    rc = l->status;
    buffer_fini(&l->input);
    free(l);
    return rc;
}

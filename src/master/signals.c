/* Signals to the master, as a descriptor and a rank. */
#include "master/state.h"

#include "common/environment.h"
#include "common/fd.h"
#include "common/log.h"

#include <sys/signalfd.h>

static const struct {
    int signo;
    enum signals_action action;
} signals_table[] = {
    {SIGTERM, SIGNALS_STOP},    {SIGINT, SIGNALS_STOP},   {SIGQUIT, SIGNALS_DRAIN},
    {SIGCHLD, SIGNALS_REAP},    {SIGHUP, SIGNALS_RELOAD}, {SIGUSR1, SIGNALS_REOPEN},
    {SIGUSR2, SIGNALS_UPGRADE}, {SIGTTIN, SIGNALS_MORE},  {SIGTTOU, SIGNALS_FEWER},
};

int
signals_open(struct signals *s)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t handled;

    sigemptyset(&handled);
    for (size_t i = 0; i < MS_ARRAY_LEN(signals_table); i++)
        sigaddset(&handled, signals_table[i].signo);
    s->pending = 0;
    s->fd = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0)
        return -1;
    sigprocmask(SIG_BLOCK, &handled, &s->old_mask);
    sigaction(SIGPIPE, &ignore, &s->old_pipe);
    return 0;
}

void
signals_close(struct signals *s)
{
    if (s->fd < 0)
        return;
    fd_close(&s->fd);
    sigaction(SIGPIPE, &s->old_pipe, NULL);
    sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
}

void
signals_reset_child(struct signals *s)
{
    fd_close(&s->fd);
    environment_default_signals();
}

/* A SIGHUP that the kernel sends, and nobody else, says that the terminal has hung up. `nohup
 * msockd` wants to outlive its terminal; it still reloads for whoever asks. */
static int
signals_meaning(const struct signalfd_siginfo *info)
{
    if (info->ssi_signo != SIGHUP || info->ssi_code != SI_KERNEL)
        return (int)info->ssi_signo;
    log_line(LOG_hung_up, "the terminal has hung up%s",
             environment_hangup_ignored() ? "; msockd goes on, as nohup asks" : "");
    return environment_hangup_ignored() ? 0 : SIGQUIT;
}

/* With a value (sigqueue) a TTIN or a TTOU says how many workers there are to be. */
static bool
signals_has_total(const struct signalfd_siginfo *info)
{
    return info->ssi_code == SI_QUEUE && (info->ssi_signo == SIGTTIN || info->ssi_signo == SIGTTOU);
}

void
signals_collect(struct signals *s)
{
    struct signalfd_siginfo info;

    while (fd_read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (!signals_has_total(&info)) {
            signals_note(&s->pending, signals_meaning(&info));
            continue;
        }
        s->workers = info.ssi_int;
        s->pending |= 1u << SIGNALS_WORKERS;
    }
}

void
signals_note(unsigned *pending, int signo)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(signals_table); i++) {
        if (signals_table[i].signo == signo)
            *pending |= 1u << signals_table[i].action;
    }
}

enum signals_action
signals_next(unsigned *pending)
{
    for (unsigned rank = SIGNALS_STOP; rank < SIGNALS_NONE; rank++) {
        if (*pending & (1u << rank)) {
            *pending &= ~(1u << rank);
            return (enum signals_action)rank;
        }
    }
    return SIGNALS_NONE;
}

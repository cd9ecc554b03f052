/* The last thing that a worker does which its own fault ends. Nothing here takes memory or a lock:
 * what the unwinder needs is there before. If the note itself goes wrong, the kernel ends the
 * worker, and what was written before stands. */
#include "common/symbols.h"
#include "stats/stats_writer.h"

#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define STACK_SIZE  65536 /* the own one may be full */
#define PATIENCE_S  2     /* an unwinder that waits for a lock waits for ever */
#define FRAMES_OURS 2     /* this handler, and the kernel's way into it */

static struct stats_crash_note *crash_note;

static void
crash_frame(struct stats_frame *frame, const void *address)
{
    const struct symbol symbol = symbols_find(address);

    frame->at = symbol.at;
    frame->offset = symbol.offset;
    memcpy(frame->function, symbol.function, strnlen(symbol.function, sizeof(frame->function)));
    memcpy(frame->module, symbol.module, strnlen(symbol.module, sizeof(frame->module)));
}

static void
crash_limit_time(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    (void)signal(SIGALRM, SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    (void)alarm(PATIENCE_S);
}

/* The kernel has set the signal back to what it does by default. One that somebody has sent does
 * not come again by itself, one that an instruction has caused does. */
static void
crash_caught(int signo, siginfo_t *info, void *context)
{
    struct stats_crash_note *note = crash_note;
    void *addresses[STATS_FRAMES + FRAMES_OURS];
    int n;

    (void)context;
    crash_limit_time();
    note->address = info->si_code > 0 && info->si_code != SI_KERNEL ? (uintptr_t)info->si_addr
                                                                    : STATS_NO_ADDRESS;
    atomic_store(&note->signal, (uint32_t)signo);
    n = backtrace(addresses, STATS_FRAMES + FRAMES_OURS) - FRAMES_OURS;
    for (int i = 0; i < n; i++) {
        /* Behind a call stands the next line, or the next function. */
        const char *address = (const char *)addresses[i + FRAMES_OURS] - (i > 0);

        crash_frame(&note->frames[i], address);
        atomic_store(&note->frame_count, (uint32_t)i + 1);
    }
    if (info->si_code <= 0)
        (void)raise(signo);
}

void
stats_watch_crashes(struct stats_recorder *recorder)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
    static char stack[STACK_SIZE];
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = crash_caught,
                               .sa_flags = (int)(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND)};
    void *first[1];

    crash_note = &recorder->note;
    symbols_load();
    (void)backtrace(first, 1); /* loads the unwinder */
    (void)sigaltstack(&own, NULL);
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < MS_ARRAY_LEN(signals); i++)
        (void)sigaction(signals[i], &action, NULL);
}

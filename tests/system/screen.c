/* A VT52 on a pseudo-terminal. */
#include "screen.h"

#include "harness.h"
#include "support/signals.h"

#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ESCAPE 27

void
screen_start(struct screen *s, const char *const argv[], const char *term)
{
    const struct winsize size = {.ws_row = SCREEN_LINES, .ws_col = SCREEN_COLUMNS};

    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < SCREEN_LINES; i++)
        memset(s->cells[i], ' ', SCREEN_COLUMNS);
    s->pid = forkpty(&s->master, NULL, NULL, &size);
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        setenv("TERM", term, 1);
        unsetenv("LINES");
        unsetenv("COLUMNS");
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
}

void
screen_type(struct screen *s, const char *keys)
{
    assert_int_equal(write(s->master, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* --- what comes --- */

static void
clear_from(struct screen *s, unsigned line, unsigned column)
{
    if (column < SCREEN_COLUMNS)
        memset(&s->cells[line][column], ' ', SCREEN_COLUMNS - column);
}

static void
scroll_up(struct screen *s)
{
    memmove(s->cells[0], s->cells[1], (SCREEN_LINES - 1) * sizeof(s->cells[0]));
    clear_from(s, SCREEN_LINES - 1, 0);
}

static void
take_command(struct screen *s, char c)
{
    switch (c) {
    case 'A':
        s->line -= s->line > 0;
        break;
    case 'B':
        s->line += s->line + 1 < SCREEN_LINES;
        break;
    case 'C':
        s->column += s->column + 1 < SCREEN_COLUMNS;
        break;
    case 'D':
        s->column -= s->column > 0;
        break;
    case 'H':
        s->line = s->column = 0;
        break;
    case 'I':
        s->line -= s->line > 0;
        break;
    case 'J':
        clear_from(s, s->line, s->column);
        for (unsigned i = s->line + 1; i < SCREEN_LINES; i++)
            clear_from(s, i, 0);
        break;
    case 'K':
        clear_from(s, s->line, s->column);
        break;
    default: /* keypad and graphics: nothing to see */
        break;
    }
}

static void
take_plain(struct screen *s, char c)
{
    if (c == '\r') {
        s->column = 0;
    } else if (c == '\b') {
        s->column -= s->column > 0;
    } else if (c == '\t') {
        s->column = (s->column / 8 + 1) * 8;
    } else if (c == '\n') {
        if (s->line + 1 == SCREEN_LINES)
            scroll_up(s);
        else
            s->line++;
    } else if (c >= ' ' && s->column < SCREEN_COLUMNS) {
        s->cells[s->line][s->column++] = c;
    }
}

static void
take_byte(struct screen *s, char c)
{
    if (s->pending_len == 0) {
        if (c == ESCAPE)
            s->pending[s->pending_len++] = c;
        else
            take_plain(s, c);
        return;
    }
    s->pending[s->pending_len++] = c;
    if (s->pending[1] != 'Y') {
        take_command(s, c);
        s->pending_len = 0;
    } else if (s->pending_len == 4) {
        s->line = (unsigned)(s->pending[2] - ' ') % SCREEN_LINES;
        s->column = (unsigned)(s->pending[3] - ' ') % SCREEN_COLUMNS;
        s->pending_len = 0;
    }
}

/* False where nothing came in that time, or nothing can come any more. */
static bool
take_some(struct screen *s, int ms)
{
    struct pollfd p = {.fd = s->master, .events = POLLIN};
    char bytes[4096];
    ssize_t n = poll(&p, 1, ms) > 0 ? read(s->master, bytes, sizeof(bytes)) : 0;

    for (ssize_t i = 0; i < n; i++)
        take_byte(s, bytes[i]);
    return n > 0;
}

unsigned
screen_find(struct screen *s, const char *text)
{
    unsigned i = 0;

    while (take_some(s, 10))
        ;
    while (i < SCREEN_LINES && strstr(s->cells[i], text) == NULL)
        i++;
    return i;
}

bool
screen_has(struct screen *s, unsigned first, const char *text)
{
    while (take_some(s, 10))
        ;
    for (unsigned i = first; i < SCREEN_LINES; i++)
        if (strstr(s->cells[i], text) != NULL)
            return true;
    return false;
}

int
screen_finish(struct screen *s)
{
    struct waiting w = waiting_begin(20000);
    int status = -1;

    while (waitpid(s->pid, &status, WNOHANG) == 0) {
        (void)take_some(s, 10); /* it waits where nobody reads */
        if (!waiting_more(&w)) {
            signal_send(s->pid, SIGKILL);
            fail_msg("the program on the terminal does not end");
        }
    }
    while (take_some(s, 10))
        ;
    close(s->master);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void
screen_show(const struct screen *s)
{
    for (unsigned i = 0; i < SCREEN_LINES; i++)
        print_message("|%s|\n", s->cells[i]);
}

#include "chat_terminal.h"

#include "say.h"

#include <editline/readline.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TERMINAL_PROMPT "> "

static struct {
    bool is_open;
    bool at_end;
    bool is_fresh; /* nothing was typed since the last line */
    chat_typed_fn typed;
    void *arg;
} terminal; /* libedit has one as well */

/* libedit prints the prompt again behind its callback; at the end of input there must be none. */
static void
terminal_line(char *line)
{
    terminal.is_fresh = true;
    if (line == NULL) {
        terminal.at_end = true;
        rl_callback_handler_remove();
        putchar('\n');
    } else if (*line != '\0') {
        add_history(line);
    }
    terminal.typed(terminal.arg, line);
    free(line);
}

/* The line that is being typed makes room, and comes back below. */
static void
terminal_hide(void)
{
    if (terminal.is_open && !terminal.at_end)
        fputs("\r\033[K", stdout);
}

/* libedit draws only what differs from what it has drawn before, and takes that for still there;
 * after a change of the terminal's size it does not. */
static void
terminal_show(void)
{
    if (terminal.is_open && !terminal.at_end) {
        rl_resize_terminal();
        rl_forced_update_display();
    }
    fflush(stdout);
}

/* libedit reads characters as the locale has them, and drops what is none. A terminal of which
 * nothing is said takes UTF-8. */
static void
terminal_locale(void)
{
    const char *name = setlocale(LC_CTYPE, "");

    if (name == NULL || strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

void
chat_terminal_open(chat_typed_fn typed, void *arg)
{
    terminal_locale();
    terminal.is_open = true;
    terminal.at_end = false;
    terminal.typed = typed;
    terminal.arg = arg;
    terminal.is_fresh = true;
    rl_callback_handler_install(TERMINAL_PROMPT, terminal_line);
}

void
chat_terminal_close(void)
{
    if (terminal.is_open && !terminal.at_end) {
        rl_callback_handler_remove();
        putchar('\n');
    } else if (terminal.is_open) {
        fputs("\r\033[K", stdout); /* the prompt, which libedit shows again behind the last line */
    }
    fflush(stdout);
    terminal.is_open = false;
}

bool
chat_terminal_is_open(void)
{
    return terminal.is_open;
}

void
chat_terminal_read(void)
{
    terminal.is_fresh = false; /* the callback says otherwise */
    rl_callback_read_char();
    if (terminal.is_fresh && !terminal.at_end) {
        /* Else libedit leaves the terminal to itself until the next whole line. */
        rl_callback_handler_install(TERMINAL_PROMPT, terminal_line);
    }
}

void
chat_terminal_print(const char *data, size_t n)
{
    char *clean = malloc(n + 1);

    terminal_hide();
    if (clean != NULL && isatty(STDOUT_FILENO)) {
        say_clean_bytes(data, n, clean);
        fputs(clean, stdout);
    } else {
        fwrite(data, 1, n, stdout); /* a program reads it, as it came */
    }
    putchar('\n');
    terminal_show();
    free(clean);
}

void
chat_terminal_note(const char *text)
{
    terminal_hide();
    say_error("%s", text);
    terminal_show();
}

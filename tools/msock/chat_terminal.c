#include "chat_terminal.h"

#include "say.h"

#include <editline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bool is_open;
    bool at_end;
    chat_typed_fn typed;
    void *arg;
} terminal; /* libedit has one as well */

/* libedit prints the prompt again behind its callback; at the end of input there must be none. */
static void
terminal_line(char *line)
{
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

void
chat_terminal_open(chat_typed_fn typed, void *arg)
{
    terminal.is_open = true;
    terminal.at_end = false;
    terminal.typed = typed;
    terminal.arg = arg;
    rl_callback_handler_install("> ", terminal_line);
}

void
chat_terminal_close(void)
{
    if (terminal.is_open && !terminal.at_end) {
        rl_callback_handler_remove();
        putchar('\n');
    }
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
    rl_callback_read_char();
}

/* The line that is being typed makes room, and comes back below. */
static void
terminal_hide(void)
{
    if (terminal.is_open && !terminal.at_end)
        fputs("\r\033[K", stdout);
}

static void
terminal_show(void)
{
    if (terminal.is_open && !terminal.at_end)
        rl_forced_update_display();
    fflush(stdout);
}

void
chat_terminal_print(const char *data, size_t n)
{
    char *text = malloc(n + 1), *clean = malloc(n + 1);

    terminal_hide();
    if (text != NULL && clean != NULL && terminal.is_open) {
        memcpy(text, data, n);
        for (size_t i = 0; i < n; i++) /* say_clean takes a string */
            text[i] = text[i] == '\0' ? '\1' : text[i];
        text[n] = '\0';
        say_clean(text, clean, n + 1);
        fputs(clean, stdout);
    } else {
        fwrite(data, 1, n, stdout); /* a program reads it, as it came */
    }
    putchar('\n');
    terminal_show();
    free(text);
    free(clean);
}

void
chat_terminal_note(const char *text)
{
    terminal_hide();
    say_error("%s", text);
    terminal_show();
}

/* The terminal of a chat: a line that can be edited (libedit), and what comes in above it. Where
 * none was opened, messages are plain lines on standard output and notes go to standard error. */
#ifndef MSOCK_CHAT_TERMINAL_H
#define MSOCK_CHAT_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* Called with each line that was typed, and with NULL at the end of input. */
typedef void (*chat_typed_fn)(void *arg, const char *line);

/* Shows the prompt; standard input and output are terminals. Once at a time. */
void chat_terminal_open(chat_typed_fn typed, void *arg);
void chat_terminal_close(void); /* also where none is open */
bool chat_terminal_is_open(void);

/* Standard input has something: calls typed where that ends a line. */
void chat_terminal_read(void);

/* Prints a message of n bytes, control characters replaced, and a newline. */
void chat_terminal_print(const char *data, size_t n);

/* Says something about the chat itself. */
void chat_terminal_note(const char *text);

#endif

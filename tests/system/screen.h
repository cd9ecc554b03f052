/* A program on a terminal of 24 lines and 80 columns, and what stands on its screen. The terminal
 * is a VT52: no other one does so much with so few commands. */
#ifndef SYSTEM_SCREEN_H
#define SYSTEM_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SCREEN_LINES   24
#define SCREEN_COLUMNS 80

struct screen {
    pid_t pid;
    int master;
    char cells[SCREEN_LINES][SCREEN_COLUMNS + 1];
    unsigned line, column;
    char pending[4]; /* of a command that has begun */
    size_t pending_len;
};

/* Starts argv[0] (a path) with TERM=term. Ends the test where it cannot. */
void screen_start(struct screen *s, const char *const argv[], const char *term);

/* Types these bytes. */
void screen_type(struct screen *s, const char *keys);

/* Reads what comes, for a moment at most, and says whether the text stands in one line (from line
 * `first` on) of the screen. */
bool screen_has(struct screen *s, unsigned first, const char *text);

/* The line with that text, SCREEN_LINES where there is none. */
unsigned screen_find(struct screen *s, const char *text);

/* Waits for the program's end and returns its exit status. */
int screen_finish(struct screen *s);

/* Prints it, for the message of a failure. */
void screen_show(const struct screen *s);

#endif

/* What the program says on standard error, in one form: "msock: sentence". */
#ifndef MSOCK_SAY_H
#define MSOCK_SAY_H

#include <stddef.h>

/* Prints "msock: ..." and a newline. Control characters, which a server's text or a file's name may
 * carry, come out as '?', so that nothing can drive the terminal. */
__attribute__((format(printf, 1, 2))) void say_error(const char *format, ...);

/* Prints where to read on: "msock: see `msock send --help`". */
void say_hint(const char *command);

/* Copies text to out with control characters replaced, cut to fit n bytes with NUL. */
void say_clean(const char *text, char *out, size_t n);

#endif

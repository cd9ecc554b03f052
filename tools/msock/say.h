/* What the program says on standard error, in one form: "msock: sentence". */
#ifndef MSOCK_SAY_H
#define MSOCK_SAY_H

#include <stddef.h>

/* Prints "msock: ..." and a newline. Control characters, which a server's text or a file's name may
 * carry, come out as '?', so that nothing can drive the terminal. */
__attribute__((format(printf, 1, 2))) void say_error(const char *format, ...);

/* Prints where to read on: "msock: see `msock send --help`". */
void say_hint(const char *command);

/* How many bytes the character of UTF-8 at text has, of which n bytes are there; 0 where that is
 * none, or one that could drive a terminal: a control character, also of the second set (U+0080 to
 * U+009F), or one that turns the direction of writing. Then '?' stands for one byte. */
size_t say_harmless(const char *text, size_t n);

/* Copies len bytes of text to out with a NUL behind them, what is not harmless replaced; out has
 * room for len + 1 bytes. */
void say_clean_bytes(const char *text, size_t len, char *out);

/* The same with a string, cut to fit n bytes with NUL. */
void say_clean(const char *text, char *out, size_t n);

#endif

/* Transforms for tests, as msock.h has them; arg is a letter. */
#ifndef UNIT_LETTERS_H
#define UNIT_LETTERS_H

#include <stddef.h>

/* Puts it in front. */
int letter_put(void *arg, const void *in, size_t n, void **out, size_t *out_len);

/* Takes it off; refuses what does not begin with it. */
int letter_take(void *arg, const void *in, size_t n, void **out, size_t *out_len);

#endif

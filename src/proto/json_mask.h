/* JSON that RFC 8259 allows and jansson does not take, rewritten in place to something of the same
 * length that stands for it in a check: lines and columns stay, keys that differ still differ. */
#ifndef PROTO_JSON_MASK_H
#define PROTO_JSON_MASK_H

#include <stdbool.h>
#include <stddef.h>

/* Integers of 16 digits and more become their first digit and blanks. Reals stay as they are. */
void json_mask_integers(char *text, size_t n);

/* Each escape of U+0000 in a string becomes the escape of one character that the document has
 * nowhere, private use if possible. Returns false where it has them all. */
bool json_mask_nul(char *text, size_t n);

#endif

/* Bytes written in hexadecimal. */
#ifndef TESTS_SUPPORT_HEX_H
#define TESTS_SUPPORT_HEX_H

#include <stddef.h>
#include <stdint.h>

/* Spaces may stand between the bytes, and anything else ends them. Returns how many there are. */
size_t hex_read(const char *hex, uint8_t *out);

#endif

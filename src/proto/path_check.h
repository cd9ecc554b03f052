/* Which paths a sender may name (docs/protocol.md 1.3, kind F). */
#ifndef PROTO_PATH_CHECK_H
#define PROTO_PATH_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* Relative, UTF-8, no NUL, no empty, "." or ".." component, no leading "/", no component over 255
 * bytes. Returns NULL where all hold, else the reason as a static text. */
const char *path_check(const char *path, size_t n);

#endif

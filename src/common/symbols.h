/* The names of functions, for a backtrace in a signal handler: the symbols of the program and of
 * all that is loaded beside it are mapped before, and a look at them makes no call at all. */
#ifndef COMMON_SYMBOLS_H
#define COMMON_SYMBOLS_H

#include "common/base.h"

/* Maps the symbols of what is loaded now and was not at the last call. One thread at a time. What
 * cannot be read has no names, and what is beyond the 64th object is not known. */
void symbols_load(void);

struct symbol {
    const char *module;   /* name of its file, without folders; "" where it is not known */
    const char *function; /* "" where it is not known */
    uint64_t at;          /* the address in that file, as addr2line wants it */
    uint64_t offset;      /* from the beginning of the function */
};

/* May be called in a signal handler. */
struct symbol symbols_find(const void *address);

#endif

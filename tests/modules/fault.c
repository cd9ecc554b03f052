/* Ends its worker in the way that a message names; settles all others. */
#include <msock_module.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static volatile int *volatile fault_nowhere = NULL;

/* A name to look for in the backtrace. */
static void __attribute__((noinline, no_sanitize("undefined"))) fault_write(void)
{
    *fault_nowhere = 1;
}

/* Takes the stack that there is. */
static unsigned __attribute__((noinline)) fault_recurse(volatile unsigned *depth)
{
    volatile unsigned own[1024];

    own[0] = *depth + 1;
    return own[0] < UINT_MAX ? fault_recurse(own) + own[0] : 0;
}

static int
fault_is(const struct msock_module_message *message, const char *word)
{
    return message->size == strlen(word) && memcmp(message->data, word, message->size) == 0;
}

static enum msock_module_result
fault_message(void *state, const struct msock_module_message *message)
{
    volatile unsigned first = 0;

    (void)state;
    if (fault_is(message, "write"))
        fault_write();
    if (fault_is(message, "recurse"))
        (void)fault_recurse(&first);
    if (fault_is(message, "abort"))
        abort();
    if (fault_is(message, "exit"))
        _Exit(7);
    return MSOCK_MODULE_COMMIT;
}

#define NAME    "fault"
#define MESSAGE fault_message
#include "least.h"

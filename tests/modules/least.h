/* A module that has no more than it must, and settles every message. A file defines the members in
 * which it differs, then includes this. */
#ifndef TESTS_MODULES_LEAST_H
#define TESTS_MODULES_LEAST_H

#include <msock_module.h>

#include <stddef.h>

#ifndef ABI
#define ABI MSOCK_MODULE_ABI
#endif
#ifndef SIZE
#define SIZE sizeof(struct msock_module)
#endif
#ifndef NAME
#define NAME "least"
#endif
#ifndef START
#define START least_start
#endif
#ifndef CONN_OPEN
#define CONN_OPEN NULL
#endif
#ifndef MESSAGE
#define MESSAGE least_message
#endif
#ifndef STOP
#define STOP NULL
#endif

static inline int
least_start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    (void)host;
    (void)error;
    (void)error_len;
    *state_out = NULL;
    return 0;
}

static inline enum msock_module_result
least_message(void *state, const struct msock_module_message *message)
{
    (void)state;
    (void)message;
    return MSOCK_MODULE_COMMIT;
}

const struct msock_module msock_module = {
    .abi = ABI,
    .size = SIZE,
    .name = NAME,
    .start = START,
    .conn_open = CONN_OPEN,
    .message = MESSAGE,
    .stop = STOP,
};

#endif

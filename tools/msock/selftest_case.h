/* One protocol of `msock selftest`: a server in a thread of its own that answers each message with
 * itself and then sends it unasked, where the protocol can; and a client that expects this. */
#ifndef MSOCK_SELFTEST_CASE_H
#define MSOCK_SELFTEST_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct selftest_case {
    const char *name;
    const char *listen, *client;                 /* protocols */
    const char *listen_options, *client_options; /* behind "?"; or NULL */
    bool pushes;                                 /* the server can send what nobody asked for */
    bool no_empty;                               /* there is no message without bytes */
    bool sealed;                                 /* with a key */
    size_t fixed;                                /* the only size; 0: any */
};

struct selftest_result {
    unsigned messages; /* that arrived, were answered, and were sent back unasked */
    uint64_t bytes;    /* in them */
    char error[512];   /* "" where all went well */
};

/* key: a file with a key, for sealed cases. */
struct selftest_result selftest_case_run(const struct selftest_case *c, const char *key);

#endif

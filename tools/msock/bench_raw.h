/* The ceiling: a server in a child process that does nothing but count bytes and answer as many as
 * msockd would. What a load reaches against it, no server on this machine can exceed. */
#ifndef MSOCK_BENCH_RAW_H
#define MSOCK_BENCH_RAW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct raw_server {
    pid_t pid;
    int life; /* the child leaves when this end of a pipe is closed */
    uint16_t port;
};

/* Starts it on a port of its own on 127.0.0.1, for requests of request_len bytes. Returns 0, or -1
 * with errno. */
int raw_start(size_t request_len, struct raw_server *server_out);

/* Ends it and waits for it. */
void raw_stop(struct raw_server *server);

#endif

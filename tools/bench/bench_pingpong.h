/* The ceiling: a server in a child process that does nothing but count bytes and answer as many as
 * msockd would. What a load reaches against it, no server on this machine can exceed. */
#ifndef BENCH_BENCH_PINGPONG_H
#define BENCH_BENCH_PINGPONG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pingpong {
    pid_t pid;
    int life; /* the child leaves when this end of a pipe is closed */
    uint16_t port;
};

/* Starts it on 127.0.0.1, on that port or (0) one that the kernel chooses, for requests of
 * request_len bytes, each answered with reply_len bytes. Returns 0, or -1 with errno. */
int
pingpong_start(uint16_t port, size_t request_len, size_t reply_len, struct pingpong *server_out);

/* The same in this process, until a signal ends it. -1 with errno where it cannot begin. */
int pingpong_serve(uint16_t port, size_t request_len, size_t reply_len);

/* Ends it and waits for it. */
void pingpong_stop(struct pingpong *server);

#endif

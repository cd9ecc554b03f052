/* One request of each protocol that `msock bench --blocks` speaks, and how its answer is told. */
#ifndef BENCH_BENCH_BLOCK_H
#define BENCH_BENCH_BLOCK_H

#include "bench/bench_load.h"

#define BLOCK_AROUND 256u /* more than any protocol puts around the body */
#define BLOCK_STEPS  3

/* A request that takes several trips: so many of its bytes, so many of the answer. */
struct block_step {
    uint32_t len, reply_len;
};

/* One request, and how its answer is told. */
struct block {
    const uint8_t *body; /* of size bytes */
    size_t size;
    char kind;           /* 'A' or 'J' */
    uint8_t *data;       /* one more than are in flight, one behind the other */
    size_t len;          /* of one */
    uint32_t reply_len;  /* of an answer of fixed length; 0: it has lines */
    unsigned lines;      /* of an answer; 0: up to an empty one */
    const char *initial; /* of each line; '*' stands for any */
    unsigned steps;      /* trips; 0: it goes in one */
    struct block_step step[BLOCK_STEPS];
    const char *opening; /* what this side says first; NULL: nothing */
    size_t opening_len;
    const char *welcome; /* the first byte of the answer to that, */
    size_t welcome_len;  /* which is so long */
    size_t number_at;    /* where each request has a number of its connection's; 0: it has none */
    size_t mark_at;      /* where an answer has */
    uint8_t mark;        /* this byte; 0: any */
    bool has_handshake;  /* cnp */
};

/* They fill in the request and its answer; len stays 0 where it cannot be made. */
void block_msp(struct block *b);
void block_raw(struct block *b);
void block_redis(struct block *b);
void block_beanstalkd(struct block *b);
void block_http(struct block *b);
void block_post(struct block *b);
void block_frame(struct block *b);
void block_tinyproto(struct block *b);
void block_cnp(struct block *b);
void block_mqtt(struct block *b);

#endif

/* The load's messages: all have the same body, so whatever a protocol has to compute of it, it
 * computes once, and keeps it beside. */
#ifndef MSOCK_BENCH_MESSAGE_H
#define MSOCK_BENCH_MESSAGE_H

#include "bench.h"

struct bench_message {
    uint8_t *body;
    uint64_t size;
    uint32_t run; /* random: two runs do not share ids, paths or the order of their retries */
    void *wire;   /* what the protocol has made of it; its wire_destroy frees it */
};

/* Builds it. Returns 0, or -1 without memory. message_fini in both cases. */
int message_init(struct bench_message *message, const struct bench_options *options);
void message_fini(struct bench_message *message, const struct bench_options *options);

/* True where these bytes are those of the body from that place on. */
bool message_has(const struct bench_message *message, uint64_t at, const uint8_t *data, size_t n);

/* Big-endian numbers of 1 to 8 bytes. */
void put_be(uint8_t *out, uint64_t value, unsigned bytes);
uint64_t get_be(const uint8_t *in, unsigned bytes);

#endif

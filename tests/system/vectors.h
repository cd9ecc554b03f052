/* The conversations of tests/vectors/msp.json. */
#ifndef SYSTEM_VECTORS_H
#define SYSTEM_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VECTOR_STEPS_MAX    16
#define VECTOR_DELIVERS_MAX 8

struct vector_step {
    uint8_t *client; /* bytes to write, or NULL */
    size_t client_len;
    const char *server; /* text that must come back, or NULL */
};

struct vector_delivery {
    const char *kind; /* the journal's word: "plain", "json", "file" */
    uint8_t *body;
    size_t body_len;
    char *value; /* id or path, "" where there is none */
};

struct vector {
    const char *name;
    bool small_packets; /* with packet_size and packet_size_max of 2048 */
    bool undetermined;  /* packets are written whole */
    bool closes, reply;
    size_t step_count, delivery_count, client_len;
    struct vector_step steps[VECTOR_STEPS_MAX];
    struct vector_delivery deliveries[VECTOR_DELIVERS_MAX];
};

/* Reads them all; ends the test where the file is not as expected. Returns an array of
 * *count_out. */
struct vector *vectors_load(size_t *count_out);
void vectors_free(struct vector *vectors, size_t count);

#endif

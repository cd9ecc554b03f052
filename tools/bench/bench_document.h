/* The content of the load's messages. Pure. */
#ifndef BENCH_BENCH_DOCUMENT_H
#define BENCH_BENCH_DOCUMENT_H

#include <stddef.h>
#include <stdint.h>

/* Writes a JSON document of exactly size bytes (at least 1), built like an event of a real program:
 * an object of strings, numbers, a nested object and arrays, with more readings the larger it
 * is. */
void document_json(uint8_t *out, size_t size);

/* Writes size bytes of text in lines. */
void document_text(uint8_t *out, size_t size);

/* Writes size bytes that do not repeat. */
void document_binary(uint8_t *out, size_t size);

#endif

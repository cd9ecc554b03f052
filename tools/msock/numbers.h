/* Numbers as people write and read them. Pure. */
#ifndef MSOCK_NUMBERS_H
#define MSOCK_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A whole number from 0 to max, as sizes are written in the configuration: with K, M or G behind
 * it. false: not one, or too large. */
bool number_parse(const char *text, uint64_t max, uint64_t *out);

/* Seconds as a decimal fraction, 0 to max. false: not one. */
bool number_seconds(const char *text, double max, double *out);

/* "on" or "off". false: neither. */
bool number_switch(const char *text, bool *out);

#define NUMBER_TEXT_LEN 24

/* "29 B", "1.5 KiB", "1.0 GiB". */
void number_bytes(double bytes, char out[NUMBER_TEXT_LEN]);

/* "0:07", "12:05", "3:02:11". */
void number_clock(double seconds, char out[NUMBER_TEXT_LEN]);

/* Monotonic, nanoseconds. */
uint64_t number_now_ns(void);

#endif

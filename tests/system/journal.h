/* Everything that stands in a journal directory, read with jansson, each body checked against the
 * SHA-256 beside it. */
#ifndef SYSTEM_JOURNAL_H
#define SYSTEM_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry {
    char *id, *time, *listener, *proto, *peer, *kind, *key; /* key is "" where there is none */
    char *file, *blob; /* as in the line, "" where it is neither */
    uint64_t size;
    char sha256[65];
    char *body; /* NUL-terminated besides */
    size_t body_len;
    bool sound; /* size and SHA-256 of the body are those of the line */
};

struct journal {
    size_t count;
    struct entry *entries; /* by peer, and for one peer in the order of the lines */
    size_t bad_lines;      /* not JSON, a member missing, or not ended by a newline */
    size_t segments;
    char *complaint; /* the first bad line */
};

/* Reads journal/ *.ndjson below data_dir, bodies included. May be called while the daemon writes: a
 * last line without its newline is then no bad line (live). */
void journal_load(const char *data_dir, bool live, struct journal *journal_out);
void journal_free(struct journal *j);

/* Ends the test where a line is bad or a body is not what its sum says. */
void journal_check(const struct journal *j);

/* How many entries there are, each of them sound; of a daemon that was stopped. */
size_t journal_count(const char *data_dir);

/* Entries with that key, and one of them (NULL where there is none; one_out may be NULL). */
size_t journal_find_key(const struct journal *j, const char *key, const struct entry **one_out);

/* The entries of one peer: how many, and the first. */
size_t journal_find_peer(const struct journal *j, const char *peer, const struct entry **first_out);

#endif

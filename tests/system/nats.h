/* NATS servers of the test's own, on ports that the kernel chose, and a client of them that reads a
 * stream. The client speaks the protocol from its text alone: it shares no code with the daemon,
 * and needs no libnats. */
#ifndef SYSTEM_NATS_H
#define SYSTEM_NATS_H

#include "harness.h"
#include "journal.h"
#include "run.h"

#define NATS_CLUSTER 3

struct nats {
    char dir[HARNESS_PATH_LEN]; /* configuration, log and store */
    char config[HARNESS_PATH_LEN];
    unsigned port, cluster_port;
    bool is_plain;     /* without JetStream */
    bool is_locked;    /* our own clients cannot speak to it */
    const char *login; /* members of the CONNECT of our own clients, or NULL */
    struct running run;
    bool running;
};

/* Skips the test where nats-server or the plugin is missing, as each start of a server does. */
void nats_need(void);

/* Starts a server with JetStream and those lines of configuration (NULL: none), and waits until it
 * serves. */
void nats_start(struct nats *n, const char *more);

/* The same server again, with its store, on its port; nats_spawn does not wait until it serves. */
void nats_launch(struct nats *n);
void nats_spawn(struct nats *n);
void nats_kill(struct nats *n);

/* Three servers that know each other, with those lines more of configuration (NULL: none). Waits
 * until JetStream has a leader. */
void nats_cluster_start(struct nats n[NATS_CLUSTER], const char *more);

/* The index of the server that leads stream S, or -1; and whether the others have all of it (NULL:
 * no matter). */
int nats_cluster_leader(const struct nats n[NATS_CLUSTER], bool *is_whole_out);

/* A port of 127.0.0.1 that was free just now. */
unsigned nats_free_port(void);
bool nats_port_is_free(unsigned port);

struct nats_client {
    int fd;
    unsigned answer_ms; /* how long a request waits; nats_open sets some seconds */
    bool is_lost;
    unsigned inbox; /* requests so far */
    char *buffer;
    size_t have, cap;
};

/* Returns false where the server is not there or does not let us in. */
bool nats_open(struct nats_client *c, const struct nats *n);
void nats_close(struct nats_client *c);

/* The answer, NUL-terminated and the caller's; NULL: there is none, or nobody takes the subject. */
char *nats_request(struct nats_client *c, const char *subject, const char *body);

struct nats_message {
    char *subject, *headers, *body; /* NUL-terminated; headers "" where there are none */
    size_t len;
};

/* The message of a stream with that number. Returns false where it is not there. */
bool
nats_get(struct nats_client *c, const char *stream, uint64_t seq, struct nats_message *message_out);
void nats_message_free(struct nats_message *m);

/* The value of a header, "" where there is none. Static, four at a time. */
const char *nats_header(const struct nats_message *m, const char *name);

/* The last number of a stream. */
uint64_t nats_last(struct nats_client *c, const char *stream);

/* All messages of a stream, put together from their chunks, as a journal. Chunks that no manifest
 * names are counted. */
void nats_read_stream(const struct nats *n, const char *stream, struct journal *journal_out,
                      size_t *orphans_out);

#endif

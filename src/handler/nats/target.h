/* Where messages are published to: what the options of a listener with handler=nats say, or those
 * of the relay, which has the options of such a listener. */
#ifndef HANDLER_NATS_TARGET_H
#define HANDLER_NATS_TARGET_H

#include "handler/handler.h"
#include "nats/publisher.h"

struct nats_target {
    struct publisher_config config;
    char *label;                /* for the log: "nats on msp://127.0.0.1:8000" */
    char subjects[SUBJECT_MAX]; /* that the stream has to take */
    const char *template;       /* of subjects */
};

/* The options stay the caller's; the label is "nats on NAME" with the listener's name, or the name
 * itself where that is no URL. Returns 0, or -1 with a sentence. nats_target_fini in any case. */
MS_MUST_CHECK int nats_target_init(struct nats_target *t, const struct listener_config *options,
                                   char error[HANDLER_ERROR_LEN]);
void nats_target_fini(struct nats_target *t);

/* Connects, and waits for an answer about the stream, at most as long as one may take. Returns the
 * publisher, with "" or, where no server could say anything, a sentence in error: that may pass. Or
 * NULL with a sentence: this will not do as it is configured. */
MS_MUST_CHECK struct publisher *
nats_target_open(const struct nats_target *t, uint64_t wait_us, char error[HANDLER_ERROR_LEN]);

/* For `msockd -t`: opens it only to look. Returns 0, with "" or a sentence, or -1. */
MS_MUST_CHECK int
nats_target_check(const struct listener_config *options, char error[HANDLER_ERROR_LEN]);

#endif

/* What the files of the publisher share: publisher.c has its life and what it is given,
 * publisher_events.c the connection and the answers, publisher_look.c duplicates, publisher_time.c
 * all that happens because nothing happened. Invariant: the publications under way stand in the
 * order in which they were given, each in a slot of its own, and each is in the list until its done
 * is called. */
#ifndef NATS_PUBLISHER_STATE_H
#define NATS_PUBLISHER_STATE_H

#include "common/log.h"
#include "nats/publisher.h"

/* Each publication and a look for each; chunks may go beyond the bound by a few. */
#define PUBLISHER_SLOTS (2 * PUBLISHER_COUNT + 1024)

struct publisher_slot {
    struct publication *publication;
    uint32_t generation; /* late answers to what was in it before are none of this one */
};

struct publisher {
    struct publisher_config config;
    const struct nats_plugin *plugin;
    struct link_settings *settings;
    struct link *link;
    int epoll_fd, timer_fd;
    uint64_t armed_us; /* UINT64_MAX: the timer is not set */

    enum publisher_state state;
    char trouble[NATS_ERROR_LEN]; /* why it is not ready, or "" */
    bool has_failed;              /* all servers were tried since it was opened */
    uint32_t epoch;               /* of the connection; 0: there is none */
    uint32_t round;               /* publisher_round */
    char server[NATS_NAME_MAX];
    int64_t server_max; /* its max_payload */
    bool is_known;      /* the facts are known */
    struct stream_facts facts;
    struct publication *question; /* about the stream, on its way; or NULL */
    uint64_t ask_us;              /* when to ask (again) */
    bool to_create;               /* the next question makes the stream */
    bool has_overlapped;          /* it could not be made for that reason */

    TAILQ_HEAD(publications, publication) under_way;
    unsigned count;
    size_t bytes;
    struct publisher_slot slots[PUBLISHER_SLOTS];
    uint16_t free_slots[PUBLISHER_SLOTS];
    unsigned free_count;
    unsigned unkicked;  /* given since the link was told the last time, */
    uint64_t kicked_us; /* which was then */
    uint64_t now_us;
    uint64_t heard_us;              /* when the server was heard last */
    char setback[NATS_ERROR_LEN];   /* why the last one had to be given again */
    char said[NATS_ERROR_LEN + 64]; /* the last line of the log, and when */
    uint64_t said_us;
};

/* --- publisher.c --- */

/* Gives it to the connection, where there is one. */
void publisher_send(struct publisher *p, struct publication *publication);

/* What was given is to leave now. */
void publisher_kick(struct publisher *p);

struct publication *publisher_find(struct publisher *p, uint64_t token);

/* It is decided: the publication is gone after this. */
void publisher_finish(struct publisher *p, struct publication *publication,
                      enum publish_outcome outcome, const struct stream_answer *answer);

/* The same line is written once a minute at most. */
void publisher_say(struct publisher *p, enum log_kind kind, const char *fmt, ...) MS_PRINTF(3, 4);

/* A slot for something that is on no list: a question, or a look. */
void publisher_enter(struct publisher *p, struct publication *publication);
void publisher_leave(struct publisher *p, struct publication *publication);

/* --- publisher_events.c --- */

void publisher_event(struct publisher *p, const struct link_event *e);
void publisher_ask(struct publisher *p);
void publisher_drop_question(struct publisher *p);

/* --- publisher_look.c --- */

/* The stream says that it has the message already, at seq: is it the same? */
void publisher_look(struct publisher *p, struct publication *publication, uint64_t seq);
void publisher_drop_look(struct publisher *p, struct publication *publication);

/* --- publisher_time.c --- */

void publisher_arm(struct publisher *p);
void publisher_tick(struct publisher *p);

#endif

/* One connection of the load: a client that never blocks. What it says and hears is its protocol's
 * affair (bench_protocol.h); how it is made, lost and made again is the same for all.
 *
 * Messages are numbered; the oldest in flight is the next to be settled, so three numbers say
 * everything: those below done_seq are settled, those from there to next_seq are in flight, those
 * from there to begun_seq were in flight on a connection that was lost and are to be sent again. */
#ifndef MSOCK_BENCH_CONN_H
#define MSOCK_BENCH_CONN_H

#include "bench_message.h"
#include "endpoint.h"

#define CONN_KEPT_MAX \
    2048u /* the longest that has to be there whole: a packet of cnp's handshake */

struct load;

enum conn_state {
    CONN_NEW,        /* never tried */
    CONN_CONNECTING, /* connect is under way */
    CONN_OPENING,    /* connected; what comes before any message is under way */
    CONN_UP,
    CONN_WAITING, /* lost or refused; tried again at retry_ns */
    CONN_DEAD,    /* given up, or no longer needed */
};
#define CONN_STATES 6

/* What is on its way out: buf, then data. */
struct conn_out {
    uint8_t *buf;
    size_t len, cap;     /* of buf */
    const uint8_t *data; /* somebody else's */
    size_t data_len;
    size_t sent; /* of both together; all of it: the connection is quiet */
    /* data changes when another connection sends: what is left of it has to be copied */
    bool shared;
};

/* What the oldest message in flight waits for. */
enum msp_phase {
    MSP_BODY,   /* the answer to a packet of its body */
    MSP_FINAL,  /* the answer to its trailer */
    MSP_HEADER, /* the 50 bytes in front of its reply */
    MSP_REPLY,  /* the reply */
};

struct msp_conn {
    uint8_t phase;     /* enum msp_phase */
    uint32_t nacks;    /* within the message under way */
    uint64_t offset;   /* strict: body bytes that are acknowledged */
    size_t packet_len; /* strict: body bytes of the packet in flight */
};

struct frame_conn {
    bool in_body;  /* of a reply: its length is known, or needs not be */
    bool wrong;    /* the reply differs from the message */
    uint64_t at;   /* bytes of the reply that came */
    uint64_t left; /* and that come, where that is known */
};

struct tinyproto_conn {
    bool asking;    /* our SIZE is out, its OK has not come */
    bool sending;   /* our payload is on its way out */
    bool held;      /* the server's SIZE waits for our OK */
    bool receiving; /* the server's payload is coming */
    bool wrong;     /* it differs from the message */
    uint64_t at;    /* bytes of it that came */
    uint64_t left;  /* and that come */
};

struct cnp_conn {
    uint64_t first;      /* number of the first message on this connection */
    uint64_t base, sent; /* packets below are settled, and begun */
    uint64_t reply;      /* the message, counted from first, whose reply comes next */
    uint32_t window;     /* as negotiated */
    uint32_t packet_max;
    uint64_t packets;  /* of a message */
    uint32_t nacks;    /* since the last ACK */
    uint8_t type;      /* of the server's packet that is coming */
    bool in_payload;   /* its header is there */
    bool again;        /* it came before */
    bool wrong;        /* the reply differs from the message */
    uint16_t sequence; /* of the packet that is coming */
    uint16_t turn;     /* of the one that came last in its turn; 0: none */
    uint64_t at;       /* bytes of the reply that came */
    uint32_t left;     /* bytes of the packet that come */
};

/* Zeroes for a new connection. */
union conn_protocol {
    struct msp_conn msp;
    struct frame_conn frame;
    struct tinyproto_conn tinyproto;
    struct cnp_conn cnp;
};

struct conn {
    struct load *load;
    uint32_t index;
    int fd;
    uint8_t state;  /* enum conn_state; conn_set_state changes it */
    bool want_out;  /* epoll watches for room to send */
    bool was_up;    /* has been connected before */
    bool renewed;   /* ended in good order and is made anew: no reconnect */
    bool no_memory; /* for what was to be sent */
    uint16_t port;  /* this side's */
    uint16_t kept_len;
    uint32_t failures; /* since the last message was answered, for the back-off */
    uint64_t done_seq;
    uint64_t next_seq;
    uint64_t begun_seq;
    uint64_t again_until; /* messages below were on a connection that was lost */
    uint64_t heard_ns;    /* last byte that came, or the beginning of waiting */
    uint64_t trouble_ns;  /* first failure since the last message was answered; 0: none */
    uint64_t retry_ns;
    uint64_t *stamps; /* by number modulo the messages in flight: when they were begun */
    uint8_t *marks;   /* as many, of the protocol; zeroes for a new connection */
    uint8_t *kept;    /* CONN_KEPT_MAX bytes, made when first needed: the beginning of something */
    struct msp_reply *reply; /* made when first needed */
    struct conn_out out;
    union conn_protocol protocol;
    struct bench_counts counts; /* since it was connected */
};

/* --- bench_conn.c --- */

/* Begins to connect. */
void conn_open(struct conn *conn);

/* What comes before any message is done. */
void conn_ready(struct conn *conn);

/* Deals with what epoll said about it. */
void conn_event(struct conn *conn, uint32_t events);

/* Begins and sends what may be sent now. */
void conn_send(struct conn *conn);

/* Takes the connection as lost: what is in flight is sent again on a new one, or given up. counted:
 * the reason is in some other counter already. */
void conn_lose(struct conn *conn, bool counted);

/* It has been silent for too long while something was awaited from it. */
void conn_expire(struct conn *conn);

/* True while something is awaited from it. */
bool conn_awaits(const struct conn *conn);

/* Says that nothing more will be sent; the server closes when it has read everything. */
void conn_leave(struct conn *conn);

/* Hands its counts to the result, closes it and frees what it holds. */
void conn_fini(struct conn *conn);

/* --- bench_out.c --- */

/* Nothing is on its way out. */
bool conn_quiet(const struct conn *conn);

/* Appends a copy to what goes out. Not behind conn_put_data that is on its way. Without memory the
 * connection is lost, at the next conn_push. */
void conn_put(struct conn *conn, const void *data, size_t n);

/* Appends bytes that stay where they are until they are sent; once, behind everything. */
void conn_put_data(struct conn *conn, const uint8_t *data, size_t n, bool shared);

/* Sends what is on its way out, as far as the socket takes it. The connection may be lost by it. */
void conn_push(struct conn *conn);

/* Sends the same again. The connection is quiet. */
void conn_push_again(struct conn *conn);

/* Nothing is on its way out any more. */
void conn_out_drop(struct conn *conn);

/* Makes epoll watch it (how: EPOLL_CTL_ADD or _MOD) for input, and for room to send where out is
 * set. */
void conn_watch(struct conn *conn, int how, bool out);
void conn_want_out(struct conn *conn, bool out);

/* --- bench_count.c --- */

/* Puts messages in flight, at most so many, those of a connection that was lost first: numbers from
 * next_seq - (what it returns) on. */
uint32_t conn_begin(struct conn *conn, uint32_t wanted);

/* Message seq counts, now. */
void conn_count(struct conn *conn, uint64_t seq);

/* The oldest message in flight is settled, whatever came of it. */
void conn_settle(struct conn *conn);

/* Both, for the oldest one. */
void conn_commit(struct conn *conn);

/* The reply of the oldest one is here: it counts if that is right. */
void conn_replied(struct conn *conn, bool right);

/* What came is no answer, or is out of place: the connection is lost. */
void conn_bad_answer(struct conn *conn);

#endif

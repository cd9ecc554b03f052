/* What the files of the dialer know of each other: dial.c races, dial_find.c has the addresses,
 * dial_order.c the order and the records of failures, dial_say.c the sentences. */
#ifndef COMMON_DIAL_STATE_H
#define COMMON_DIAL_STATE_H

#include "common/dial.h"

/* --- dial_find.c --- */

/* The turn of a server has come: reads its addresses, or begins to look its name up. */
void dial_find(struct dialer *d, struct dial_server *s);

/* The resolver has answered. */
void dial_found(struct dialer *d, struct dial_server *s);

/* It has not in time, or another server was faster. */
void dial_find_ended(struct dialer *d, struct dial_server *s);

/* --- dial_order.c --- */

/* What comes next: an address, or (NULL) a server whose addresses are to be found. No server:
 * nothing is left. */
struct dial_choice {
    struct dial_server *server;
    struct dial_address *address;
    bool rests;
};

struct dial_choice dial_choose(struct dialer *d);

/* How many more there are to come, as far as that is known. */
unsigned dial_left(const struct dialer *d);

/* Sets the order for the race that begins. */
void dial_arrange(struct dialer *d);

/* An order for the n addresses of one name. */
void dial_arrange_name(const struct dialer *d, uint8_t order_out[DIAL_MAX], unsigned n);

void dial_record_failure(const struct dialer *d, struct dial_record *record);

/* It is the one that connected last. */
void dial_has_worked(struct dialer *d, struct dial_address *won);

/* --- dial_say.c --- */

/* Sets the sentence about a server without an address. */
void dial_say_why(struct dialer *d, struct dial_server *s, const char *fmt, ...) MS_PRINTF(3, 4);

/* Sets those about all servers that have failed in the race that has ended; lost: all have, and
 * error tells it. */
void dial_say_race(struct dialer *d, bool lost);

#endif

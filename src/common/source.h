/* Who is at the other end of a connection, as far as the kernel says: an address, or the user of a
 * Unix socket; and lists of networks and users that decide by it: "10.0.0.0/8,::1,user:app". */
#ifndef COMMON_SOURCE_H
#define COMMON_SOURCE_H

#include "common/url.h"

enum source_kind {
    SOURCE_NONE = 0, /* the peer is gone, or cannot be told */
    SOURCE_USER = 1, /* of a Unix socket */
    SOURCE_CERT = 2, /* named by its certificate */
    SOURCE_IPV4 = 4,
    SOURCE_IPV6 = 6,
};

struct source {
    uint8_t kind;      /* enum source_kind */
    uint8_t bytes[16]; /* network order; IPv4 and the number of a user in the first 4; of a
                          certificate's name a digest in the first 8 */
};

/* Of the peer of an accepted socket. A mapped IPv4 address is that IPv4 address. */
struct source source_of_peer(int fd, const struct endpoint *peer);

/* Of an identity by certificate: "cert:NAME". */
struct source source_of_name(const char *identity);

/* "127.0.0.2", "2001:db8::/64" (of an IPv6 address only its network), "user:1000". Returns out. */
#define SOURCE_NAME_LEN 64
const char *source_name(const struct source *source, char out[SOURCE_NAME_LEN]);

#define SOURCE_RULES_MAX   32
#define SOURCE_REASON_LEN  160
#define SOURCE_PATTERN_LEN 64

struct source_rule {
    struct source source;
    uint8_t bits;                     /* of source.bytes that must agree */
    char pattern[SOURCE_PATTERN_LEN]; /* of SOURCE_CERT: "cert:pump-*" */
};

struct source_rules {
    size_t count;
    struct source_rule rule[SOURCE_RULES_MAX];
};

/* Reads ADDRESS, ADDRESS/BITS, user:NAME (or its number), unix (any user) and cert:PATTERN (where *
 * stands for any characters), with commas between them. May block on the name of a user. Returns 0,
 * or -1 with half a sentence in reason. */
MS_MUST_CHECK int source_rules_parse(const char *text, struct source_rules *rules_out,
                                     char reason[SOURCE_REASON_LEN]);

bool source_rules_match(const struct source_rules *rules, const struct source *source);

/* The same for an identity by certificate; and is there any rule about such? */
bool source_rules_match_name(const struct source_rules *rules, const char *identity);
bool source_rules_have_names(const struct source_rules *rules);

#endif

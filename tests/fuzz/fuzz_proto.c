/* One protocol in one role hears any bytes. $FUZZ_PROTO and $FUZZ_ROLE (server, client) say which.
 * The first byte of the input is how: the size of the pieces, whether answers leave after each, and
 * whether the handler replies. Of frame, where the highest bit is set, the second byte is the
 * framing. Most inputs are mended after a mutation: their checksums hold. */
#include "../unit/proto_peer.h"

#include "mend.h"

#define UNMENDED 8 /* one of so many inputs */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t max);

static const struct proto_ops *proto;
static enum proto_role role;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("FUZZ_PROTO"), *as = getenv("FUZZ_ROLE");

    (void)argc;
    (void)argv;
    proto = proto_find(name != NULL ? name : "auto");
    role = as != NULL && strcmp(as, "client") == 0 ? PROTO_CLIENT : PROTO_SERVER;
    if (proto == NULL) {
        fprintf(stderr, "fuzz_proto: no protocol is called %s\n", name);
        exit(64);
    }
    return 0;
}

static void
limit(struct proto_limits *limits)
{
    limits->max_message_size = 1 << 20;
    limits->packet_size = 64;
    limits->packet_size_max = 4096;
}

static void
mend(uint8_t *at, size_t n)
{
    struct proto_limits limits = {0};

    limit(&limits);
    if (proto == proto_find("cnp"))
        mend_cnp(at, n);
    else if (role == PROTO_CLIENT && proto == proto_find("msp"))
        mend_msp_reply(at, n);
    else if (proto == proto_find("msp"))
        mend_msp(at, n, &limits);
    else if (proto == proto_find("auto"))
        mend_auto(at, n, &limits);
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max, unsigned seed)
{
    n = LLVMFuzzerMutate(data, n, max);
    if (n > 1 && seed % UNMENDED != 0)
        mend(data + 1, n - 1);
    return n;
}

static void
frame_as(struct framing *framing, uint8_t how)
{
    static const char *const delimiters[] = {"\n", "ab", "aab", "E"};
    const char *delimiter = delimiters[how >> 2 & 3];

    framing->kind = (enum framing_kind)(how & 3);
    framing->fixed_len = 1 + (how >> 2 & 7);
    framing->keep_unterminated = framing->kind == FRAMING_DELIMITER && (how & 32) != 0;
    framing->drop_cr = delimiter[0] == '\n' && (how & 64) != 0;
    framing->delimiter_len = (uint8_t)strlen(delimiter);
    memcpy(framing->delimiter, delimiter, framing->delimiter_len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint8_t body[3000] = "what a client sends";
    static const size_t pieces[] = {PEER_WHOLE, 1, 2, 7, 64, 1000, 4096, PEER_WHOLE};
    struct outgoing out = {
        .size = sizeof(body), .data = body, .kind = 'A', .value = "id", .value_len = 2};
    struct proto_peer p;
    uint8_t how;

    if (n == 0 || n > 1 << 20)
        return 0;
    how = *data++;
    n--;
    proto_peer_init(&p, proto);
    limit(&p.limits);
    if (n > 0 && (how & 128) != 0 && proto == proto_find("frame")) {
        frame_as(&p.limits.framing, *data++);
        n--;
        if (p.limits.framing.kind == FRAMING_FIXED)
            out.size = p.limits.framing.fixed_len;
    }
    p.echo = (how & 16) != 0;
    /* A client of msp takes a reply at once: there is nothing to answer. */
    p.hold = (how & 32) != 0 && (role == PROTO_SERVER || proto != proto_find("msp"));
    p.limits.reply = (how & 16) != 0 ? REPLY_YES : REPLY_NO;
    out.wants_reply = (how & 64) != 0;
    proto_peer_begin(&p, role);
    if (role == PROTO_CLIENT && proto_peer_send(&p, &out) != 0)
        abort();
    proto_peer_hear(&p, data, n, pieces[how & 7], (how & 8) != 0);
    for (size_t i = 0; i < p.held_count; i++)
        proto_peer_settle(&p, i, &p.verdict);
    if (!p.closed)
        proto_peer_wait(&p, 3000000);
    if (!p.closed)
        proto_peer_eof(&p);
    proto_peer_fini(&p);
    return 0;
}

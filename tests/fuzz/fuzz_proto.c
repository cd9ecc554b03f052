/* One protocol in one role hears any bytes. $FUZZ_PROTO and $FUZZ_ROLE (server, client) say which.
 * The first byte of the input is how: the size of the pieces, whether answers leave after each, and
 * whether the handler replies. */
#include "../unit/proto_peer.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

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
    how = data[0];
    proto_peer_init(&p, proto);
    p.limits.max_message_size = 1 << 20;
    p.echo = (how & 16) != 0;
    p.hold = (how & 32) != 0;
    p.limits.reply = (how & 16) != 0 ? REPLY_YES : REPLY_NO;
    out.wants_reply = (how & 64) != 0;
    proto_peer_begin(&p, role);
    if (role == PROTO_CLIENT && proto_peer_send(&p, &out) != 0)
        abort();
    proto_peer_hear(&p, data + 1, n - 1, pieces[how & 7], (how & 8) != 0);
    for (size_t i = 0; i < p.held_count; i++)
        proto_peer_settle(&p, i, &p.verdict);
    if (!p.closed)
        proto_peer_wait(&p, 3000000);
    if (!p.closed)
        proto_peer_eof(&p);
    proto_peer_fini(&p);
    return 0;
}

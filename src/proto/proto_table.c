/* The table of protocols, by name and by row; and the messages that all of them begin. */
#include "proto/proto_table.h"

#define X(name, state) &name##_protocol,
static const struct proto_ops *const protocols[] = {PROTOCOLS(X)};
#undef X

#define X(name, state) #name,
const char *const proto_names[] = {PROTOCOLS(X) NULL};
#undef X

const struct proto_ops *
proto_find(const char *name)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(protocols); i++)
        if (strcmp(protocols[i]->name, name) == 0)
            return protocols[i];
    return NULL;
}

const struct proto_ops *
proto_at(size_t row)
{
    return row < MS_ARRAY_LEN(protocols) ? protocols[row] : NULL;
}

size_t
proto_row(const struct proto_ops *proto)
{
    size_t row = 0;

    while (protocols[row] != proto)
        MS_ASSERT(++row < MS_ARRAY_LEN(protocols));
    return row;
}

/* The half of it that is opened. */
static bool
proto_message_sealed(const struct proto_io *io, const struct proto_ops *proto, struct message *m,
                     bool sums)
{
    struct message *plain = message_create(io->store, m->announced, m->keep_max, m->begun_us);

    if (plain == NULL)
        return false;
    if (!sums && !io->want_digest)
        message_skip_digest(plain);
    m->opening = opening_create(io->seal, proto->name, plain);
    return m->opening != NULL;
}

struct message *
proto_message(const struct proto_io *io, const struct proto_ops *proto, uint64_t size_hint,
              uint64_t keep_max, uint64_t begun_us, bool sums)
{
    struct message *m = message_create(io->store, size_hint, keep_max, begun_us);

    if (m == NULL)
        return NULL;
    if (!sums && (!io->want_digest || io->seal != NULL))
        message_skip_digest(m);
    if (io->seal == NULL || proto_message_sealed(io, proto, m, sums))
        return m;
    message_destroy(m);
    return NULL;
}

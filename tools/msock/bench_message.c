#include "bench_message.h"

#include "bench_document.h"
#include "bench_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void
put_be(uint8_t *out, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0) {
        out[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

uint64_t
get_be(const uint8_t *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

static void
message_fill(struct bench_message *m, enum bench_kind kind)
{
    switch (kind) {
    case BENCH_PLAIN:
        document_text(m->body, (size_t)m->size);
        break;
    case BENCH_JSON:
        document_json(m->body, (size_t)m->size);
        break;
    case BENCH_FILE:
        document_binary(m->body, (size_t)m->size);
        break;
    }
}

int
message_init(struct bench_message *m, const struct bench_options *options)
{
    *m = (struct bench_message){.size = options->size};
    m->body = malloc((size_t)options->size + 1);
    if (m->body == NULL)
        return -1;
    message_fill(m, options->kind);
    if (getrandom(&m->run, sizeof(m->run), 0) != (ssize_t)sizeof(m->run))
        return -1;
    return options->protocol->wire_create(m, options);
}

void
message_fini(struct bench_message *m, const struct bench_options *options)
{
    if (m->wire != NULL)
        options->protocol->wire_destroy(m->wire);
    free(m->body);
}

bool
message_has(const struct bench_message *m, uint64_t at, const uint8_t *data, size_t n)
{
    return at <= m->size && n <= m->size - at && memcmp(m->body + at, data, n) == 0;
}

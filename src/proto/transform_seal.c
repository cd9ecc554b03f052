#include "proto/transform.h"

#include <stdlib.h>

struct sealing {
    struct seal *seal;
    enum seal_direction to, from;
};

/* The work needs some memory also for an empty payload, or NULL would mean two things. */
static uint8_t *
sealing_memory(size_t n)
{
    return malloc(n > 0 ? n : 1);
}

static int
sealing_send(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    struct sealing *s = arg;
    uint8_t *sealed =
        in_len <= SIZE_MAX - SEAL_OVERHEAD ? sealing_memory(in_len + SEAL_OVERHEAD) : NULL;

    if (sealed == NULL || seal_encrypt(s->seal, s->to, in, in_len, sealed) < 0) {
        free(sealed);
        return -1;
    }
    *out = sealed;
    *out_len = in_len + SEAL_OVERHEAD;
    return 0;
}

static int
sealing_receive(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    struct sealing *s = arg;
    uint8_t *opened = in_len >= SEAL_OVERHEAD ? sealing_memory(in_len - SEAL_OVERHEAD) : NULL;

    if (opened == NULL || seal_decrypt(s->seal, s->from, in, in_len, opened) < 0) {
        free(opened);
        return -1;
    }
    *out = opened;
    *out_len = in_len - SEAL_OVERHEAD;
    return 0;
}

static void
sealing_free(void *arg)
{
    struct sealing *s = arg;

    seal_close(s->seal);
    free(s);
}

int
transform_seal(const char *key_file, enum seal_direction to, struct transform *transform_out,
               char error[SEAL_ERROR_LEN])
{
    struct seal *seal = seal_open(key_file, error);
    struct sealing *s;

    if (seal == NULL)
        return -1;
    s = ms_calloc(1, sizeof(*s));
    s->seal = seal;
    s->to = to;
    s->from = to == SEAL_TO_SERVER ? SEAL_TO_CLIENT : SEAL_TO_SERVER;
    *transform_out = (struct transform){
        .send = sealing_send, .receive = sealing_receive, .arg = s, .free_arg = sealing_free};
    return 0;
}

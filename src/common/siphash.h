/* SipHash-1-3 of 64 bits, after the paper of Aumasson and Bernstein: short input to a number that
 * nobody can foresee, or make equal for two inputs, without the secret. The number itself must stay
 * secret, too. It costs some ten nanoseconds, and calls would double that: so all of it is here. */
#ifndef COMMON_SIPHASH_H
#define COMMON_SIPHASH_H

#include "common/base.h"

struct siphash {
    uint64_t a, b, c, d;
    uint64_t word; /* bytes that are not mixed in yet */
    size_t n;      /* bytes so far */
};

static inline uint64_t
siphash_turn(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static inline uint64_t
siphash_load(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return le64toh(word);
}

static inline void
siphash_round(struct siphash *h)
{
    h->a += h->b;
    h->c += h->d;
    h->b = siphash_turn(h->b, 13) ^ h->a;
    h->d = siphash_turn(h->d, 16) ^ h->c;
    h->a = siphash_turn(h->a, 32);
    h->c += h->b;
    h->a += h->d;
    h->b = siphash_turn(h->b, 17) ^ h->c;
    h->d = siphash_turn(h->d, 21) ^ h->a;
    h->c = siphash_turn(h->c, 32);
}

static inline void
siphash_word(struct siphash *h, uint64_t word)
{
    h->d ^= word;
    siphash_round(h);
    h->a ^= word;
}

static inline void
siphash_begin(struct siphash *h, const uint8_t secret[16])
{
    uint64_t k0 = siphash_load(secret), k1 = siphash_load(secret + 8);

    *h = (struct siphash){.a = k0 ^ UINT64_C(0x736f6d6570736575),
                          .b = k1 ^ UINT64_C(0x646f72616e646f6d),
                          .c = k0 ^ UINT64_C(0x6c7967656e657261),
                          .d = k1 ^ UINT64_C(0x7465646279746573)};
}

static inline void
siphash_update(struct siphash *h, const void *data, size_t n)
{
    const uint8_t *p = data;

    while (n > 0) {
        if (h->n % 8 == 0 && n >= 8) {
            siphash_word(h, siphash_load(p));
            h->n += 8;
            p += 8;
            n -= 8;
            continue;
        }
        h->word |= (uint64_t)*p++ << h->n % 8 * 8;
        h->n++;
        n--;
        if (h->n % 8 == 0) {
            siphash_word(h, h->word);
            h->word = 0;
        }
    }
}

static inline uint64_t
siphash_finish(struct siphash *h)
{
    siphash_word(h, h->word | (uint64_t)h->n << 56);
    h->c ^= 0xff;
    siphash_round(h);
    siphash_round(h);
    siphash_round(h);
    return h->a ^ h->b ^ h->c ^ h->d;
}

#endif

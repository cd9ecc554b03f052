/* After the paper of Aumasson and Bernstein: two rounds a word, four at the end. */
#include "common/siphash.h"

static uint64_t
siphash_turn(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static uint64_t
siphash_load(const uint8_t *p)
{
    uint64_t word = 0;

    for (unsigned i = 8; i > 0; i--)
        word = word << 8 | p[i - 1];
    return word;
}

static void
siphash_rounds(struct siphash *h, unsigned rounds)
{
    uint64_t a = h->v[0], b = h->v[1], c = h->v[2], d = h->v[3];

    while (rounds-- > 0) {
        a += b;
        c += d;
        b = siphash_turn(b, 13) ^ a;
        d = siphash_turn(d, 16) ^ c;
        a = siphash_turn(a, 32);
        c += b;
        a += d;
        b = siphash_turn(b, 17) ^ c;
        d = siphash_turn(d, 21) ^ a;
        c = siphash_turn(c, 32);
    }
    h->v[0] = a;
    h->v[1] = b;
    h->v[2] = c;
    h->v[3] = d;
}

static void
siphash_word(struct siphash *h, uint64_t word)
{
    h->v[3] ^= word;
    siphash_rounds(h, 2);
    h->v[0] ^= word;
}

void
siphash_begin(struct siphash *h, const uint8_t secret[16])
{
    uint64_t k0 = siphash_load(secret), k1 = siphash_load(secret + 8);

    *h = (struct siphash){
        .v = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
              k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)}};
}

void
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

uint64_t
siphash_finish(struct siphash *h)
{
    siphash_word(h, h->word | (uint64_t)h->n << 56);
    h->v[2] ^= 0xff;
    siphash_rounds(h, 4);
    return h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
}

/* The random part is drawn once a millisecond and counted up within it, so that a burst of messages
 * costs no system call each and its ids sort in the order in which they came. */
#include "handler/journal/journal.h"

#define ULID_TIME_CHARS   10
#define ULID_RANDOM_BYTES 10

static const char ulid_digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

bool
ulid_begins(const char *text)
{
    return strspn(text, ulid_digits) == ULID_LEN;
}

uint64_t
ulid_ms(const char *text)
{
    uint64_t ms = 0;

    for (unsigned i = 0; i < ULID_TIME_CHARS; i++)
        ms = ms << 5 | (uint64_t)(strchr(ulid_digits, text[i]) - ulid_digits);
    return ms;
}

/* 26 digits of 5 bits are 130: the first one has only 3. */
void
ulid_pack(const char *text, uint8_t out[ULID_BYTES])
{
    uint32_t bits = 0;
    unsigned have = 0, at = 0;

    for (unsigned i = 0; i < ULID_LEN; i++) {
        bits = bits << 5 | (uint32_t)(strchr(ulid_digits, text[i]) - ulid_digits);
        have += i == 0 ? 3 : 5;
        if (have >= 8)
            out[at++] = (uint8_t)(bits >> (have -= 8));
    }
}

void
ulid_unpack(const uint8_t bytes[ULID_BYTES], char out[ULID_LEN])
{
    uint32_t bits = 0;
    unsigned have = 2, at = 0;

    for (unsigned i = 0; i < ULID_BYTES; i++) {
        bits = bits << 8 | bytes[i];
        for (have += 8; have >= 5;)
            out[at++] = ulid_digits[bits >> (have -= 5) & 31];
    }
}

void
ulid_init(struct ulid_source *source)
{
    *source = (struct ulid_source){.random = ms_random};
}

static void
ulid_draw(struct ulid_source *source)
{
    const unsigned char *p;

    if (source->pool_left < ULID_RANDOM_BYTES) {
        source->random(source->pool, sizeof(source->pool));
        source->pool_left = sizeof(source->pool);
    }
    source->pool_left -= ULID_RANDOM_BYTES;
    p = source->pool + source->pool_left;
    memcpy(&source->high, p, sizeof(source->high));
    memcpy(&source->low, p + sizeof(source->high), sizeof(source->low));
}

static void
ulid_begin_ms(struct ulid_source *source, uint64_t ms)
{
    source->ms = ms;
    for (unsigned i = ULID_TIME_CHARS; i-- > 0; ms >>= 5)
        source->text[i] = ulid_digits[ms & 31];
    ulid_draw(source);
}

/* Where the time does not fit, the source stays where it is: such an id was never given. */
void
ulid_begin_after(struct ulid_source *source, const char id[ULID_LEN])
{
    uint64_t ms = ulid_ms(id);

    if (ms >= source->ms && ms < CLOCK_MS_MAX)
        ulid_begin_ms(source, ms + 1);
}

/* One more within the same millisecond; where the random part is used up, the next one begins
 * early. */
static void
ulid_count_up(struct ulid_source *source)
{
    if (++source->low == 0 && ++source->high == 0)
        ulid_begin_ms(source, source->ms + 1);
}

void
ulid_next(struct ulid_source *source, uint64_t time_us, char out[ULID_LEN])
{
    uint64_t ms = time_us / 1000;
    uint64_t low;
    uint32_t high;

    if (ms > source->ms)
        ulid_begin_ms(source, ms);
    else
        ulid_count_up(source);
    low = source->low;
    for (unsigned i = 0; i < 12; i++, low >>= 5)
        source->text[ULID_LEN - 1 - i] = ulid_digits[low & 31];
    high = (uint32_t)source->high << 4 | (uint32_t)(low & 15); /* 4 bits of low are left */
    for (unsigned i = 12; i < 16; i++, high >>= 5)
        source->text[ULID_LEN - 1 - i] = ulid_digits[high & 31];
    memcpy(out, source->text, ULID_LEN);
}

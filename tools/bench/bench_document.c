/* The content of the load's messages. Pure. */
#include "bench/bench.h"

#include <stdio.h>
#include <string.h>

/* Every document ends with this, and the string takes up what is left of the size. */
#define DOCUMENT_TAIL "\"note\":\""
#define DOCUMENT_END  "\"}"
#define DOCUMENT_ROOM (sizeof(DOCUMENT_TAIL) - 1 + sizeof(DOCUMENT_END) - 1)

struct document {
    uint8_t *at;
    size_t left;
};

/* Takes the text in where it, reserve bytes and the end still fit. */
static bool
document_add(struct document *document, const char *text, size_t reserve)
{
    size_t n = strlen(text);

    if (document->left < n + reserve + DOCUMENT_ROOM)
        return false;
    document->at = mempcpy(document->at, text, n);
    document->left -= n;
    return true;
}

static void
document_readings(struct document *document)
{
    static const char *const units[] = {"C", "bar", "rpm", "m/s"};
    uint32_t state = 1, r;
    char text[160] = "\"readings\":[{\"sensor\":\"s-0000\",\"value\":0.5}";

    for (unsigned i = 1; document_add(document, text, 2); i++) {
        state = state * 1664525u + 1013904223u;
        r = state >> 8;
        snprintf(
            text, sizeof(text),
            ",{\"sensor\":\"s-%04x\",\"value\":%d.%02u,\"unit\":\"%s\",\"ok\":%s,\"raw\":[%u,%u]}",
            i & 0xffff, (int)(r % 2000) - 500, r % 97, units[r % 4], r % 16 == 0 ? "false" : "true",
            r % 4096, i);
    }
    (void)document_add(document, "],", 0);
}

/* Fills n bytes with a text again and again. */
static void
document_repeat(uint8_t *out, size_t n, const char *text)
{
    const size_t len = strlen(text);

    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)text[i % len];
}

void
document_json(uint8_t *out, size_t size)
{
    static const char *const members[] = {
        "\"id\":1048577,",
        "\"type\":\"reading\",",
        "\"time\":\"2026-03-01T09:30:12.481516Z\",",
        "\"source\":\"plant-7/line-3\",",
        "\"ok\":true,",
        "\"values\":[21.5,-3,1013.25,7.1e-3],",
        "\"operator\":{\"name\":\"Zo\xc3\xab\",\"roles\":[\"shift\",\"safety\"]},",
        "\"parent\":null,",
    };
    struct document document = {out, size};

    if (size < DOCUMENT_ROOM + 1) {
        memset(out, '7', size); /* a number */
        return;
    }
    (void)document_add(&document, "{", 0);
    for (size_t i = 0; i < MS_ARRAY_LEN(members); i++)
        document_add(&document, members[i], 0);
    if (document.left > 200)
        document_readings(&document);
    document.at = mempcpy(document.at, DOCUMENT_TAIL, sizeof(DOCUMENT_TAIL) - 1);
    document.left -= DOCUMENT_ROOM;
    document_repeat(document.at, document.left,
                    "pressure within limits, next inspection in nine days; ");
    memcpy(document.at + document.left, DOCUMENT_END, sizeof(DOCUMENT_END) - 1);
}

void
document_text(uint8_t *out, size_t size)
{
    document_repeat(out, size,
                    "2026-03-01T09:30:12Z plant-7 pump[311]: flow 21.5 l/min, valve open\n");
}

void
document_binary(uint8_t *out, size_t size)
{
    uint64_t x = 0x9e3779b97f4a7c15u;
    size_t i = 0;

    for (; i + 8 <= size; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(out + i, &x, 8);
    }
    for (; i < size; i++)
        out[i] = (uint8_t)(x >> (8 * (i % 8)));
}

#include "bench/bench_document.h"

#include <stdbool.h>
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
    memcpy(document->at, text, n);
    document->at += n;
    document->left -= n;
    return true;
}

static uint32_t
document_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void
document_readings(struct document *document)
{
    static const char *const units[] = {"C", "bar", "rpm", "m/s"};
    uint32_t state = 1;
    char text[160];

    if (!document_add(document, "\"readings\":[{\"sensor\":\"s-0000\",\"value\":0.5}", 2))
        return;
    for (unsigned i = 1;; i++) {
        uint32_t r = document_random(&state);

        snprintf(
            text, sizeof(text),
            ",{\"sensor\":\"s-%04x\",\"value\":%d.%02u,\"unit\":\"%s\",\"ok\":%s,\"raw\":[%u,%u]}",
            i & 0xffff, (int)(r % 2000) - 500, r % 97, units[r % 4], r % 16 == 0 ? "false" : "true",
            r % 4096, i);
        if (!document_add(document, text, 2))
            break;
    }
    memcpy(document->at, "],", 2);
    document->at += 2;
    document->left -= 2;
}

static void
document_note(struct document *document)
{
    static const char words[] = "pressure within limits, next inspection in nine days; ";
    size_t n = document->left - DOCUMENT_ROOM;

    memcpy(document->at, DOCUMENT_TAIL, sizeof(DOCUMENT_TAIL) - 1);
    document->at += sizeof(DOCUMENT_TAIL) - 1;
    for (size_t i = 0; i < n; i++)
        *document->at++ = (uint8_t)words[i % (sizeof(words) - 1)];
    memcpy(document->at, DOCUMENT_END, sizeof(DOCUMENT_END) - 1);
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
    document.left--;
    *document.at++ = '{';
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        document_add(&document, members[i], 0);
    if (document.left > 200)
        document_readings(&document);
    document_note(&document);
}

void
document_text(uint8_t *out, size_t size)
{
    static const char line[] =
        "2026-03-01T09:30:12Z plant-7 pump[311]: flow 21.5 l/min, valve open\n";

    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)line[i % (sizeof(line) - 1)];
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

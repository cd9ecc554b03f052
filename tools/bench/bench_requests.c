/* The bytes of each request. */
#include "bench/bench_block.h"
#include "common/base.h"
#include "common/digest.h"
#include "proto/msp/msp_wire.h"

#include <stdio.h>
#include <string.h>

static void
block_put(struct block *b, const void *data, size_t n)
{
    memcpy(b->data + b->len, data, n);
    b->len += n;
}

void
block_msp(struct block *b)
{
    struct msp_first first = {.size = b->size, .crc = digest_crc32(0, b->body, b->size)};
    struct digester *dg = digester_create();

    if (dg == NULL)
        return;
    digest_sha256(dg, b->body, b->size, first.sha256);
    digester_destroy(dg);
    msp_first_encode(b->data, &first);
    b->len = MSP_FIRST_HEADER;
    block_put(b, b->body, b->size);
    b->len += msp_trailer_encode(b->data + b->len, b->kind, 0, NULL, "", 0);
    b->lines = 2;
    b->initial = "AA";
}

void
block_raw(struct block *b)
{
    block_msp(b);
    b->reply_len = strlen("ACK\r\nACK\r\n");
}

void
block_redis(struct block *b)
{
    char head[BLOCK_AROUND] = "";
    int n = snprintf(head, sizeof(head),
                     "*5\r\n$4\r\nXADD\r\n$2\r\nst\r\n$1\r\n*\r\n$1\r\nm\r\n$%zu\r\n", b->size);

    block_put(b, head, (size_t)n);
    block_put(b, b->body, b->size);
    block_put(b, "\r\n", 2);
    b->lines = 2;
    b->initial = "$*";
}

void
block_beanstalkd(struct block *b)
{
    char head[BLOCK_AROUND] = "";
    int n = snprintf(head, sizeof(head), "put 0 0 60 %zu\r\n", b->size);

    block_put(b, head, (size_t)n);
    block_put(b, b->body, b->size);
    block_put(b, "\r\n", 2);
    b->lines = 1;
    b->initial = "I";
}

void
block_http(struct block *b)
{
    static const char text[] = "GET /idle HTTP/1.1\r\nHost: x\r\n\r\n";

    block_put(b, text, sizeof(text) - 1);
    b->initial = "H";
}

void
block_post(struct block *b)
{
    char head[BLOCK_AROUND] = "";
    int n = snprintf(head, sizeof(head),
                     "POST /idle HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", b->size);

    block_put(b, head, (size_t)n);
    block_put(b, b->body, b->size);
    b->initial = "H";
}

void
block_frame(struct block *b)
{
    be32_store(b->data, (uint32_t)b->size);
    b->len = 4;
    block_put(b, b->body, b->size);
    b->reply_len = (uint32_t)b->len;
}

/* SIZE and its OK; the body, and the echo's SIZE; its OK, and the echo. */
void
block_tinyproto(struct block *b)
{
    block_frame(b);
    block_put(b, "\xff", 1);
    b->reply_len = 0;
    b->steps = 3;
    b->step[0] = (struct block_step){4, 1};
    b->step[1] = (struct block_step){(uint32_t)b->size, 4};
    b->step[2] = (struct block_step){1, (uint32_t)b->size};
    b->opening = b->welcome = "\xff";
    b->opening_len = b->welcome_len = 1;
}

void
block_cnp(struct block *b)
{
    struct cnp_header header = {.length = (uint32_t)b->size, .type = cnp_type(CNP_DATA, false)};

    cnp_sum_of(b->body, b->size, header.sum);
    cnp_header_encode(b->data, false, &header);
    b->len = CNP_HEADER_LEN;
    block_put(b, b->body, b->size);
    b->reply_len = CNP_HEADER_LEN + 3;
    b->number_at = 5;
    b->mark_at = 4;
    b->mark = cnp_type(CNP_ACK, false);
    b->has_handshake = true;
}

/* MQTT 3.1.1: PUBLISH with QoS 1, and its PUBACK. CONNECT has no name, and CONNACK no complaint. */
void
block_mqtt(struct block *b)
{
    size_t rest = 2 + 1 + 2 + b->size; /* the topic "t" with its length, a number, the body */

    b->data[b->len++] = 0x32;
    for (; rest >= 128; rest /= 128)
        b->data[b->len++] = (uint8_t)(rest % 128 + 128);
    b->data[b->len++] = (uint8_t)rest;
    block_put(b, "\0\1t", 3);
    b->number_at = b->len;
    block_put(b, "\0\0", 2);
    block_put(b, b->body, b->size);
    b->reply_len = 4;
    b->mark = 0x40;
    b->opening = "\x10\x0c\0\4MQTT\4\2\0\0\0";
    b->opening_len = 14;
    b->welcome = "\x20";
    b->welcome_len = 4;
}

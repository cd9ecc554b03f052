/* One function builds each protocol's request; one counter of lines reads all replies. */
#include "request.h"

#include "bench_document.h"
#include "common/base.h"
#include "common/be.h"
#include "common/digest.h"
#include "proto/msp/msp_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_AROUND 256u /* more than any protocol puts around the document */

static bool
request_msp(struct request *request, size_t size)
{
    struct digester *dg;
    struct msp_first first = {.size = size};
    uint8_t *body = request->data + MSP_FIRST_HEADER;

    if (size > MSP_FIRST_BODY || (dg = digester_create()) == NULL)
        return false;
    document_json(body, size);
    first.crc = digest_crc32(0, body, size);
    digest_sha256(dg, body, size, first.sha256);
    digester_destroy(dg);
    msp_first_encode(request->data, &first);
    request->len = MSP_FIRST_HEADER + size;
    request->len += msp_trailer_encode(body + size, 'J', 0, NULL, "", 0);
    request->lines = 2;
    request->initial = "AA";
    return true;
}

static bool
request_raw(struct request *request, size_t size)
{
    if (!request_msp(request, size))
        return false;
    request->reply_len = strlen("ACK\r\nACK\r\n");
    return true;
}

/* The document between a head that names its length and CRLF. */
static void
request_framed(struct request *request, const char *head, size_t size)
{
    size_t n = strlen(head);

    memcpy(request->data, head, n);
    document_json(request->data + n, size);
    memcpy(request->data + n + size, "\r\n", 2);
    request->len = n + size + 2;
}

static bool
request_redis(struct request *request, size_t size)
{
    char head[REQUEST_AROUND];

    snprintf(head, sizeof(head), "*5\r\n$4\r\nXADD\r\n$2\r\nst\r\n$1\r\n*\r\n$1\r\nm\r\n$%zu\r\n",
             size);
    request_framed(request, head, size);
    request->lines = 2;
    request->initial = "$*";
    return true;
}

static bool
request_beanstalkd(struct request *request, size_t size)
{
    char head[REQUEST_AROUND];

    snprintf(head, sizeof(head), "put 0 0 60 %zu\r\n", size);
    request_framed(request, head, size);
    request->lines = 1;
    request->initial = "I";
    return true;
}

static bool
request_frame(struct request *request, size_t size)
{
    be32_store(request->data, (uint32_t)size);
    document_json(request->data + 4, size);
    request->len = request->reply_len = 4 + size;
    return true;
}

/* SIZE and its OK; the document, and the echo's SIZE; its OK, and the echo. */
static bool
request_tinyproto(struct request *request, size_t size)
{
    be32_store(request->data, (uint32_t)size);
    document_json(request->data + 4, size);
    request->data[4 + size] = 0xff;
    request->len = 4 + size + 1;
    request->steps = 3;
    request->step[0] = (struct request_step){4, 1};
    request->step[1] = (struct request_step){(uint32_t)size, 4};
    request->step[2] = (struct request_step){1, (uint32_t)size};
    request->opening = "\xff";
    return true;
}

static bool
request_http(struct request *request, size_t size)
{
    static const char text[] = "GET /idle HTTP/1.1\r\nHost: x\r\n\r\n";

    (void)size;
    request->len = sizeof(text) - 1;
    memcpy(request->data, text, request->len);
    request->initial = "H";
    return true;
}

bool
request_init(struct request *request, const char *protocol, size_t size)
{
    static const struct {
        const char *name;
        bool (*build)(struct request *, size_t);
    } builders[] = {
        {"msp", request_msp},
        {"raw", request_raw},
        {"redis", request_redis},
        {"beanstalkd", request_beanstalkd},
        {"http", request_http},
        {"frame", request_frame},
        {"tinyproto", request_tinyproto},
    };

    *request = (struct request){.data = ms_malloc(size + REQUEST_AROUND)};
    for (size_t i = 0; i < MS_ARRAY_LEN(builders); i++)
        if (strcmp(builders[i].name, protocol) == 0 && builders[i].build(request, size))
            return true;
    request_fini(request);
    return false;
}

void
request_fini(struct request *request)
{
    free(request->data);
    request->data = NULL;
}

static int
reply_feed_fixed(const struct request *request, struct reply_reader *reader, size_t n)
{
    size_t bytes = reader->at + n;

    reader->at = (uint32_t)(bytes % request->reply_len);
    return (int)(bytes / request->reply_len);
}

/* The next trip is the caller's to begin: it sees that step has changed. */
static int
reply_feed_steps(const struct request *request, struct reply_reader *reader, size_t n)
{
    reader->at += (uint32_t)n;
    if (reader->at < request->step[reader->step].reply_len)
        return 0;
    if (reader->at > request->step[reader->step].reply_len)
        return -1;
    reader->at = 0;
    reader->step = (reader->step + 1) % request->steps;
    return reader->step == 0;
}

static bool
reply_line_begins(const struct request *request, const struct reply_reader *reader, uint8_t byte)
{
    if (reader->at > 0 || reader->line >= strlen(request->initial))
        return true;
    return request->initial[reader->line] == '*' || request->initial[reader->line] == (char)byte;
}

/* The line is complete, its length with CRLF in at: is the reply? */
static bool
reply_line_ends(const struct request *request, struct reply_reader *reader)
{
    bool last = request->lines == 0 ? reader->at <= 2 : reader->line + 1 == request->lines;

    reader->at = 0;
    reader->line = last ? 0 : reader->line + 1;
    return last;
}

int
reply_feed(const struct request *request, struct reply_reader *reader, const uint8_t *data,
           size_t n)
{
    const uint8_t *end = data + n;
    int replies = 0;

    if (request->steps > 0)
        return reply_feed_steps(request, reader, n);
    if (request->reply_len > 0)
        return reply_feed_fixed(request, reader, n);
    while (data < end) {
        const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
        const uint8_t *next = newline == NULL ? end : newline + 1;

        if (!reply_line_begins(request, reader, *data))
            return -1;
        reader->at += (uint32_t)(next - data);
        if (newline != NULL)
            replies += reply_line_ends(request, reader);
        data = next;
    }
    return replies;
}

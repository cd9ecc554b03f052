#include "ways.h"

#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"

#include <stdio.h>

const struct way ways[] = {
    {.name = "msp", .listen = "msp://127.0.0.1:0", .acknowledges = true, .stays = true},
    {.name = "tinyproto",
     .kind = &raw_tiny,
     .listen = "tinyproto://127.0.0.1:0?reply=yes",
     .acknowledges = true,
     .receipts = true,
     .stays = true},
    {.name = "tinyproto without replies",
     .kind = &raw_tiny,
     .listen = "tinyproto://127.0.0.1:0",
     .stays = true},
    {.name = "cnp step-by-step",
     .kind = &raw_cnp_step,
     .listen = "cnp://127.0.0.1:0",
     .acknowledges = true,
     .stays = true},
    {.name = "cnp burst of fragments",
     .kind = &raw_cnp_burst,
     .listen = "cnp://127.0.0.1:0?packet_size_max=1K&packet_size=512",
     .acknowledges = true,
     .stays = true},
    {.name = "cnp with receipts",
     .kind = &raw_cnp_burst,
     .listen = "cnp://127.0.0.1:0?reply=yes",
     .acknowledges = true,
     .receipts = true,
     .stays = true},
    {.name = "cnp of old clients",
     .kind = &raw_cnp_old,
     .listen = "cnp://127.0.0.1:0?packet_size_max=16M",
     .acknowledges = true,
     .stays = true},
    {.name = "cnp, second dialect",
     .kind = &raw_cnp_second,
     .listen = "cnp://127.0.0.1:0?packet_size_max=1K&packet_size=512",
     .acknowledges = true,
     .stays = true},
    {.name = "frame length32",
     .kind = &raw_frame_length32,
     .listen = "frame://127.0.0.1:0",
     .acknowledges = true,
     .receipts = true,
     .stays = true},
    {.name = "frame length32 without replies",
     .kind = &raw_frame_length32,
     .listen = "frame://127.0.0.1:0?reply=no",
     .stays = true},
    {.name = "frame fixed",
     .kind = &raw_frame_fixed,
     .listen = "frame://127.0.0.1:0?framing=fixed:100",
     .stays = true,
     .fixed = RAW_FRAME_FIXED},
    {.name = "frame delimiter",
     .kind = &raw_frame_delimiter,
     .listen = "frame://127.0.0.1:0?framing=delimiter&reply=yes",
     .acknowledges = true,
     .receipts = true,
     .stays = true},
    {.name = "frame eof",
     .kind = &raw_frame_eof,
     .listen = "frame://127.0.0.1:0?framing=eof",
     .acknowledges = true,
     .receipts = true},
    {.name = "auto: tinyproto",
     .kind = &raw_tiny,
     .listen = "auto://127.0.0.1:0?reply=yes",
     .acknowledges = true,
     .receipts = true,
     .stays = true},
    {.name = "auto: cnp",
     .kind = &raw_cnp_step,
     .listen = "auto://127.0.0.1:0",
     .acknowledges = true,
     .stays = true},
    {.name = "auto: frame",
     .kind = &raw_frame_length32,
     .listen = "auto://127.0.0.1:0",
     .acknowledges = true,
     .receipts = true,
     .stays = true},
    {.name = "auto: msp", .listen = "auto://127.0.0.1:0", .acknowledges = true, .stays = true},
};

const size_t way_count = MS_ARRAY_LEN(ways);

void
ways_listen(struct daemon_options *options)
{
    assert_true(way_count <= WAYS_MAX);
    for (size_t i = 0; i < way_count; i++)
        options->listen[i] = ways[i].listen;
}

void
ways_configuration(const char *head, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "%slisten = {", head);

    for (size_t i = 0; i < way_count; i++)
        n += (size_t)snprintf(out + n, size - n, "%s\"%s\"", i > 0 ? ", " : "", ways[i].listen);
    snprintf(out + n, size - n, "}\n");
}

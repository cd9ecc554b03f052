/* The handshake of cnp (docs/protocol.md 3.2, 3.4), on either side. Invariant: no side agrees to
 * packets or windows over its own limits. */
#include "proto/cnp/cnp.h"

#include <jansson.h>
#include <stdio.h>

#define SESSION_LEN 16
#define SYN_ACK_MAX 512

/* --- numbers and words of a JSON object --- */

/* An integer from 1 on; a missing or null member leaves *value as it is. False: something else. */
static bool
cnp_read_size(const json_t *object, const char *name, uint32_t *value)
{
    const json_t *member = json_object_get(object, name);
    json_int_t n;

    if (member == NULL || json_is_null(member))
        return true;
    n = json_integer_value(member);
    if (!json_is_integer(member) || n < 1)
        return false;
    *value = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    return true;
}

/* One of two words: *second_out says which. A missing or null member leaves it as it is. */
static bool
cnp_read_word(const json_t *object, const char *name, const char *first, const char *second,
              bool *second_out)
{
    const json_t *member = json_object_get(object, name);
    const char *word = json_string_value(member);

    if (member == NULL || json_is_null(member))
        return true;
    if (word == NULL || (strcmp(word, first) != 0 && strcmp(word, second) != 0))
        return false;
    *second_out = strcmp(word, second) == 0;
    return true;
}

static json_t *
cnp_read_object(const void *data, size_t n)
{
    json_error_t why;
    json_t *object = n == 0 ? NULL : json_load_text(data, n, JSON_REJECT_DUPLICATES, &why);

    if (json_is_object(object))
        return object;
    json_decref(object);
    return NULL;
}

bool
cnp_may_repeat(struct cnp *cnp, const struct proto_io *io)
{
    if (cnp->nacks >= io->limits->nack_limit || cnp->nacks == UINT8_MAX)
        return false;
    cnp->nacks++;
    return true;
}

static void
cnp_session_id(const struct cnp *cnp, char out[SESSION_LEN + 1])
{
    snprintf(out, SESSION_LEN + 1, "%016llx", (unsigned long long)cnp->session);
}

/* --- the server: SYN --- */

static uint32_t
cnp_smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static bool
cnp_read_boolean(const json_t *syn, const char *name, bool *value)
{
    const json_t *member = json_object_get(syn, name);

    if (member == NULL || json_is_null(member))
        return true;
    *value = json_is_true(member);
    return json_is_boolean(member);
}

/* Reads the client's wishes into the values of the connection. Returns a sentence if they cannot be
 * met. */
static const char *
cnp_negotiate_first(struct cnp *cnp, const json_t *syn, uint32_t *size, uint32_t *window)
{
    const json_t *id = json_object_get(syn, "client_id");

    if (!cnp_read_word(syn, "operation_mode", "step-by-step", "burst", &cnp->burst))
        return "operation_mode is step-by-step or burst";
    if (!cnp_read_size(syn, "max_size", size) || !cnp_read_size(syn, "max_packet_size", size))
        return "max_packet_size is a number from 1 on";
    if (!cnp_read_size(syn, "window_size", window))
        return "window_size is a number from 1 on";
    if (!cnp_read_boolean(syn, "fragments", &cnp->fragments))
        return "fragments is true or false";
    if (id != NULL && !json_is_null(id) && !json_is_string(id))
        return "client_id is a string";
    return NULL;
}

static const char *
cnp_negotiate_second(struct cnp *cnp, const json_t *syn, uint32_t *size, uint32_t *window)
{
    cnp->selective = false;
    cnp->burst = cnp->fragments = true;
    if (!cnp_read_word(syn, "protocol", "gbn", "sr", &cnp->selective))
        return "protocol is gbn or sr";
    if (!cnp_read_size(syn, "max_fragment_size", size))
        return "max_fragment_size is a number from 1 on";
    if (!cnp_read_size(syn, "window_size", window))
        return "window_size is a number from 1 on";
    return NULL;
}

static const char *
cnp_negotiate(struct cnp *cnp, const struct proto_limits *limits, const json_t *syn)
{
    uint32_t size = limits->packet_size_max, window = limits->window_size;
    const char *wrong;

    if (syn == NULL)
        return "the SYN is no JSON object";
    wrong = cnp->second ? cnp_negotiate_second(cnp, syn, &size, &window)
                        : cnp_negotiate_first(cnp, syn, &size, &window);
    cnp->packet_max = cnp_smaller(size, limits->packet_size_max);
    window = cnp_smaller(cnp_smaller(window, limits->window_size), CNP_WINDOW_MAX);
    cnp->window = (uint16_t)window;
    return wrong;
}

static enum proto_event
cnp_unacceptable(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *wrong)
{
    char json[SYN_ACK_MAX];
    int n = snprintf(json, sizeof(json), "{\"status\": \"error\", \"message\": \"%s\"}", wrong);

    io->tally->err++;
    io->tally->header++;
    cnp_say(cnp, io, CNP_STEP_SYN_ACK, sequence, json, (size_t)n, true);
    return PROTO_CLOSE;
}

/* Where a step of the handshake begins, so does the time for it. */
static void
cnp_step_next(struct cnp *cnp, const struct proto_io *io, enum cnp_state state)
{
    cnp->state = (uint8_t)state;
    cnp->begun_us = io->now_us;
}

static void
cnp_say_syn_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    char json[SYN_ACK_MAX], id[SESSION_LEN + 1];
    int n;

    cnp_session_id(cnp, id);
    if (cnp->second)
        n = snprintf(json, sizeof(json),
                     "{\"status\": \"ok\", \"protocol\": \"%s\", \"max_fragment_size\": %u, "
                     "\"window_size\": %u, \"session_id\": \"%s\", \"message\": \"welcome\"}",
                     cnp->selective ? "sr" : "gbn", (unsigned)cnp->packet_max,
                     (unsigned)cnp->window, id);
    else
        n = snprintf(json, sizeof(json),
                     "{\"status\": \"ok\", \"session_id\": \"%s\", \"max_packet_size\": %u, "
                     "\"max_size\": %u, \"operation_mode\": \"%s\", \"window_size\": %u, "
                     "\"fragments\": %s, \"message\": \"welcome\"}",
                     id, (unsigned)cnp->packet_max, (unsigned)cnp->packet_max,
                     cnp->burst ? "burst" : "step-by-step", (unsigned)cnp->window,
                     cnp->fragments ? "true" : "false");
    cnp_say(cnp, io, CNP_STEP_SYN_ACK, sequence, json, (size_t)n, false);
    cnp_step_next(cnp, io, CNP_SESSION);
}

/* --- the server: which dialect --- */

static bool
cnp_sum_holds(struct packet_window *pw, const uint8_t *at, size_t n, const uint8_t *expected)
{
    uint8_t sum[CNP_SUM_LEN];

    cnp_sum_whole(pw->sum, at, n, sum);
    return memcmp(sum, expected, CNP_SUM_LEN) == 0;
}

static enum proto_event
cnp_syn_known(struct cnp *cnp, struct proto_io *io)
{
    struct buffer *syn = &(*io->window)->control;
    size_t header = cnp_header_len(cnp->second);
    struct cnp_header h;
    const char *wrong;
    json_t *object;

    cnp_header_decode((const uint8_t *)buffer_bytes(syn), false, &h);
    object = cnp_read_object(buffer_bytes(syn) + header, syn->len - header);
    wrong = cnp_negotiate(cnp, io->limits, object);
    json_decref(object);
    buffer_fini(syn);
    cnp->have = 0;
    if (wrong != NULL)
        return cnp_unacceptable(cnp, io, h.sequence, wrong);
    cnp_say_syn_ack(cnp, io, h.sequence);
    return PROTO_MORE;
}

/* The header may be wrong, or announce too much. */
static enum proto_event
cnp_syn_header(struct cnp *cnp, struct proto_io *io, const struct cnp_header *h)
{
    if (h->type != CNP_STEP_SYN)
        return cnp_say_nonsense(cnp, io, h->sequence, "handshake", "expected a SYN");
    if (h->length > CNP_CONTROL_MAX)
        return cnp_say_nonsense(cnp, io, h->sequence, "handshake", "this SYN is too long");
    return PROTO_MORE;
}

/* All bytes that a SYN of the first dialect has are there, and maybe one more. LAST is 0 or 1,
 * which no JSON object begins with. */
static enum proto_event
cnp_syn_whole(struct cnp *cnp, struct proto_io *io, const struct cnp_header *h)
{
    struct packet_window *pw = *io->window;
    const uint8_t *at = (const uint8_t *)buffer_bytes(&pw->control);

    if (pw->control.len == CNP_HEADER_LEN + h->length) {
        if (cnp_sum_holds(pw, at + CNP_HEADER_LEN, h->length, h->sum))
            return cnp_syn_known(cnp, io);
        if (h->length > 0 && at[CNP_HEADER_LEN] <= 1)
            return PROTO_MORE;
    } else if (cnp_sum_holds(pw, at + CNP_SECOND_HEADER_LEN, h->length, h->sum)) {
        cnp->second = true;
        return cnp_syn_known(cnp, io);
    }
    cnp->second = pw->control.len > CNP_HEADER_LEN + h->length;
    buffer_clear(&pw->control);
    cnp->have = 0;
    return cnp_step_damaged(cnp, io, h->sequence);
}

/* Takes the bytes that the SYN needs as far as it is known: its header, the rest of the first
 * dialect, and one byte more for the second dialect. */
enum proto_event
cnp_syn_feed(struct cnp *cnp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used)
{
    struct buffer *syn = &(*io->window)->control;
    size_t need = CNP_HEADER_LEN, take;
    struct cnp_header h = {0};

    if (syn->len == 0)
        cnp->begun_us = io->now_us;
    cnp->have = 1;
    cnp->second = false; /* not known, or not any more */
    if (syn->len >= CNP_HEADER_LEN) {
        cnp_header_decode((const uint8_t *)buffer_bytes(syn), false, &h);
        need += h.length;
        need += syn->len == need;
    }
    take = need - syn->len < n ? need - syn->len : n;
    buffer_append(syn, data, take);
    *used = take;
    if (syn->len < need)
        return PROTO_MORE;
    if (need > CNP_HEADER_LEN)
        return cnp_syn_whole(cnp, io, &h);
    cnp_header_decode((const uint8_t *)buffer_bytes(syn), false, &h);
    if (cnp_syn_header(cnp, io, &h) == PROTO_CLOSE)
        return PROTO_CLOSE;
    return h.length == 0 ? cnp_syn_whole(cnp, io, &h) : PROTO_MORE;
}

/* --- the server: the session's id comes back --- */

/* An ERROR has the TYPE of an old client's last step. The one that can come now is about
 * SYN-ACK. */
static bool
cnp_is_damage(const json_t *error)
{
    const char *code = json_string_value(json_object_get(error, "error"));

    return code != NULL && strcmp(code, "checksum") == 0;
}

static enum proto_event
cnp_session_end(struct cnp *cnp, struct proto_io *io)
{
    struct buffer *step = &(*io->window)->control;
    json_t *object = cnp_read_object(buffer_bytes(step), step->len);
    const json_t *member = json_object_get(object, "session_id");
    const char *said = json_string_value(member);
    char id[SESSION_LEN + 1];
    bool right, again;

    cnp_session_id(cnp, id);
    right = said != NULL ? strcmp(said, id) == 0 : cnp->second && member == NULL;
    again = cnp->header.type == CNP_STEP_OLD && cnp_is_damage(object) && cnp_may_repeat(cnp, io);
    json_decref(object);
    if (again) {
        cnp_say_syn_ack(cnp, io, cnp->header.sequence);
        return PROTO_MORE;
    }
    if (!right)
        return cnp_say_nonsense(cnp, io, cnp->header.sequence, "bad-session",
                                "this is not the session's id");
    cnp->state = CNP_READY;
    cnp->used_us = io->now_us;
    return cnp_pump(cnp, io);
}

/* --- the client --- */

void
cnp_say_syn(struct cnp *cnp, struct proto_io *io)
{
    bool burst = io->limits->window_size > 1;
    char json[SYN_ACK_MAX];
    int n = snprintf(json, sizeof(json),
                     "{\"operation_mode\": \"%s\", \"max_packet_size\": %u, \"window_size\": %u, "
                     "\"fragments\": true}",
                     burst ? "burst" : "step-by-step", (unsigned)io->limits->packet_size_max,
                     (unsigned)cnp_smaller(io->limits->window_size, CNP_WINDOW_MAX));

    cnp_say(cnp, io, CNP_STEP_SYN, 0, json, (size_t)n, false);
    cnp_step_next(cnp, io, CNP_ASKED);
}

static enum proto_event
cnp_not_accepted(struct cnp *cnp, struct proto_io *io, const char *text)
{
    cnp_note_refusal(io, text);
    return cnp_farewell(cnp, io, NULL, 0);
}

/* The codes after which a client asks later, asks another server, or does not ask on. */
static void
cnp_note_code(struct proto_io *io, const char *code)
{
    struct outbox_results *results = io->outbox->results;

    if (results != NULL && code != NULL &&
        (strcmp(code, "busy") == 0 || strcmp(code, "shutdown") == 0 || strcmp(code, "denied") == 0))
        strcpy(results->code, code);
}

/* An ERROR instead of SYN-ACK. */
static enum proto_event
cnp_asked_error(struct cnp *cnp, struct proto_io *io, const json_t *error)
{
    const char *text = json_string_value(json_object_get(error, "message"));

    if (cnp_is_damage(error) && cnp_may_repeat(cnp, io)) {
        cnp_say_syn(cnp, io);
        return PROTO_MORE;
    }
    cnp_note_code(io, json_string_value(json_object_get(error, "error")));
    return cnp_not_accepted(cnp, io, text != NULL ? text : "the handshake was refused");
}

/* Says the last step, and keeps it in case it is damaged on its way. */
static void
cnp_say_step(struct cnp *cnp, struct proto_io *io, const char *id)
{
    struct buffer *step = &(*io->window)->step, json;
    struct cnp_header header = {.type = CNP_STEP_SYN_ACK};

    buffer_init(&json);
    buffer_append_str(&json, "{\"session_id\": ");
    text_json_string(&json, id, strlen(id));
    buffer_append_str(&json, "}");
    cnp_packet_head(cnp, io, step, &header, buffer_bytes(&json), json.len);
    buffer_append(step, buffer_bytes(&json), json.len);
    answers_append(io->answers, buffer_bytes(step), step->len, false);
    buffer_fini(&json);
}

static enum proto_event
cnp_accepted(struct cnp *cnp, struct proto_io *io, const json_t *syn_ack)
{
    const char *id = json_string_value(json_object_get(syn_ack, "session_id"));
    const char *wrong = cnp_negotiate(cnp, io->limits, syn_ack);

    if (id == NULL || wrong != NULL)
        return cnp_not_accepted(cnp, io, wrong != NULL ? wrong : "there is no session_id");
    cnp_say_step(cnp, io, id);
    cnp->state = CNP_READY;
    return cnp_pump(cnp, io);
}

static enum proto_event
cnp_asked_end(struct cnp *cnp, struct proto_io *io)
{
    struct buffer *said = &(*io->window)->control;
    json_t *object = cnp_read_object(buffer_bytes(said), said->len);
    const char *status = json_string_value(json_object_get(object, "status"));
    const char *text = json_string_value(json_object_get(object, "message"));
    enum proto_event event;

    if (cnp_kind(&cnp->header, false) == CNP_ERROR)
        event = cnp_asked_error(cnp, io, object);
    else if (status != NULL && strcmp(status, "ok") == 0)
        event = cnp_accepted(cnp, io, object);
    else
        event = cnp_not_accepted(cnp, io, text != NULL ? text : "this is no SYN-ACK");
    json_decref(object);
    return event;
}

/* --- either side --- */

/* The step that may come now, by its type. */
static bool
cnp_step_expected(const struct cnp *cnp)
{
    uint8_t type = cnp->header.type;

    if (cnp->state == CNP_ASKED)
        return type == CNP_STEP_SYN_ACK || cnp_kind(&cnp->header, false) == CNP_ERROR;
    if (cnp->second)
        return cnp_kind(&cnp->header, true) == CNP_STEP ||
               cnp_kind(&cnp->header, true) == CNP_CHANNEL;
    return type == CNP_STEP_SYN_ACK || type == CNP_STEP_OLD;
}

/* DATA that left before its sender could know that the step was damaged. */
static bool
cnp_step_overtaken(const struct cnp *cnp)
{
    enum cnp_kind kind = cnp_kind(&cnp->header, cnp->second);

    return cnp->awaited && (kind == CNP_DATA || kind == CNP_FRAGMENT) &&
           cnp->header.length <= cnp->packet_max;
}

enum proto_event
cnp_step_begin(struct cnp *cnp, struct proto_io *io)
{
    const struct cnp_header *h = &cnp->header;

    cnp->into = CNP_INTO_NOTHING;
    if (cnp_step_overtaken(cnp))
        return PROTO_MORE;
    if (!cnp_step_expected(cnp))
        return cnp_say_nonsense(cnp, io, h->sequence, "handshake", "the handshake is not complete");
    if (h->length > CNP_CONTROL_MAX)
        return cnp_say_nonsense(cnp, io, h->sequence, "handshake", "this step is too long");
    cnp->into = CNP_INTO_CONTROL;
    return PROTO_MORE;
}

enum proto_event
cnp_step_end(struct cnp *cnp, struct proto_io *io)
{
    if (cnp->into == CNP_INTO_NOTHING)
        return PROTO_MORE;
    if (cnp->state == CNP_ASKED)
        return cnp_asked_end(cnp, io);
    if (cnp->second && cnp_kind(&cnp->header, true) == CNP_CHANNEL)
        return PROTO_MORE;
    return cnp_session_end(cnp, io);
}

enum proto_event
cnp_step_damaged(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    if (cnp->state != CNP_OPENING && cnp->into == CNP_INTO_NOTHING)
        return PROTO_MORE;
    if (!cnp_may_repeat(cnp, io))
        return cnp_say_close(cnp, io, sequence, "retries", "too many damaged packets");
    cnp->awaited = cnp->state == CNP_SESSION;
    cnp->begun_us = io->now_us;
    cnp_say_damaged(cnp, io, sequence);
    return PROTO_MORE;
}

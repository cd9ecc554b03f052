/* The client over cnp, against a server written from the protocol's text: handshake,
 * acknowledgement, refusal, damage, fragments, the window, and what comes by itself. */
#include "byte_server.h"
#include "client_fixture.h"

#include <openssl/evp.h>
#include <time.h>

enum { DATA = 1, ACK = 2, ERROR = 3, DISCONNECT = 5, FRAGMENT = 6 };

struct packet {
    uint8_t type;
    uint16_t sequence;
    uint32_t length;
    char payload[65536]; /* NUL-terminated besides */
};

static void
sum(const void *data, size_t n, uint8_t out[4])
{
    uint8_t md5[EVP_MAX_MD_SIZE];

    assert_int_equal(EVP_Digest(data, n, md5, NULL, EVP_md5(), NULL), 1);
    memcpy(out, md5, 4);
}

static bool
packet_read(struct byte_server *s, struct packet *p)
{
    uint8_t head[11], expected[4];

    *p = (struct packet){0};
    if (!byte_read(s, head, sizeof(head)))
        return false;
    p->length =
        (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    p->type = head[4];
    p->sequence = (uint16_t)(head[5] << 8 | head[6]);
    if (p->length >= sizeof(p->payload) || !byte_read(s, p->payload, p->length)) {
        byte_wrong(s, "a packet's length");
        return false;
    }
    sum(p->payload, p->length, expected);
    if (memcmp(expected, head + 7, 4) != 0)
        byte_wrong(s, "a packet's checksum");
    return true;
}

static void
packet_say_with(struct byte_server *s, uint8_t type, uint16_t sequence, const char *payload,
                uint8_t damage)
{
    uint32_t n = (uint32_t)strlen(payload);
    uint8_t packet[2048] = {
        (uint8_t)(n >> 24),       (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type,
        (uint8_t)(sequence >> 8), (uint8_t)sequence};

    sum(payload, n, packet + 7);
    packet[7] ^= damage;
    memcpy(packet + 11, payload, n);
    byte_say(s, packet, 11 + n);
}

static void
packet_say(struct byte_server *s, uint8_t type, uint16_t sequence, const char *payload)
{
    packet_say_with(s, type, sequence, payload, 0);
}

/* Reads a packet, which must be this one. Returns its SEQUENCE. */
static uint16_t
packet_expect(struct byte_server *s, uint8_t type, const char *payload)
{
    struct packet *p = malloc(sizeof(*p));
    uint16_t sequence;

    if (!packet_read(s, p) || p->type != type || strcmp(p->payload, payload) != 0)
        byte_wrong(s, "a packet");
    sequence = p->sequence;
    free(p);
    return sequence;
}

#define SESSION "0123456789abcdef"

/* The handshake; mode is what the client must have asked for. */
static void
greet(struct byte_server *s, const char *mode, unsigned window)
{
    struct packet *p = malloc(sizeof(*p));
    char answer[400];

    if (!packet_read(s, p) || p->type != DATA || strstr(p->payload, mode) == NULL)
        byte_wrong(s, "a SYN");
    snprintf(answer, sizeof(answer),
             "{\"status\":\"ok\",\"session_id\":\"" SESSION "\",\"max_packet_size\":1000,"
             "\"max_size\":1000,\"operation_mode\":\"%s\",\"window_size\":%u,\"fragments\":true,"
             "\"message\":\"hello\"}",
             mode, window);
    packet_say(s, ACK, 0, answer);
    if (!packet_read(s, p) || (p->type != ACK && p->type != ERROR) ||
        strstr(p->payload, SESSION) == NULL)
        byte_wrong(s, "the end of a handshake");
    free(p);
}

/* The client says goodbye, after what it had to acknowledge. */
static void
expect_goodbye(struct byte_server *s)
{
    struct packet *p = malloc(sizeof(*p));

    while (packet_read(s, p) && p->type == ACK)
        continue;
    if (p->type != DISCONNECT)
        byte_wrong(s, "no DISCONNECT");
    packet_say(s, ACK, p->sequence, "ACK");
    free(p);
}

static void
serve_words(struct byte_server *s)
{
    uint16_t first, second;

    greet(s, "step-by-step", 1);
    first = packet_expect(s, DATA, "one");
    packet_say(s, ACK, first, "ACK");
    second = packet_expect(s, DATA, "two");
    if (first != 1 || second != 2)
        byte_wrong(s, "SEQUENCE");
    packet_say(s, ERROR, second, "{\"error\":\"refused\",\"message\":\"not today\"}");
    packet_say(s, ERROR, packet_expect(s, DATA, "three"),
               "{\"error\":\"checksum\",\"message\":\"damaged\"}");
    packet_say(s, ACK, packet_expect(s, DATA, "three"), "ACK");
    packet_say(s, ACK, packet_expect(s, DATA, ""), "ACK");
    expect_goodbye(s);
}

static void
a_message_is_taken_refused_or_sent_again(void **state)
{
    struct msock_counts counts;
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_words, NULL);
    m = client_open("cnp://%s", s.at);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
    assert_int_equal(msock_send(m, "two", 3), MSOCK_REFUSED);
    assert_string_equal(msock_error_code(m), "refused");
    assert_non_null(strstr(msock_error(m), "not today"));
    assert_int_equal(msock_send(m, "three", 5), MSOCK_OK);
    assert_int_equal(msock_send(m, NULL, 0), MSOCK_OK);
    msock_get_counts(m, &counts);
    assert_int_equal(counts.acks, 3);
    assert_int_equal(counts.rej, 1);
    assert_int_equal(counts.nack1, 1);
    assert_int_equal(counts.messages, 3);
    assert_int_equal(counts.connects, 1);
    assert_int_equal(msock_acknowledges(m), 1);
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_refused_handshake(struct byte_server *s)
{
    struct packet *p = malloc(sizeof(*p));

    (void)packet_read(s, p);
    packet_say(s, ACK, 0, "{\"status\":\"error\",\"message\":\"no such mode\"}");
    free(p);
}

static void
a_handshake_that_is_refused_makes_it_unreachable(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_refused_handshake, NULL);
    m = client_open("cnp://%s", s.at);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_UNREACHABLE);
    assert_non_null(strstr(msock_error(m), "no such mode"));
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 3);
}

static void
serve_denied(struct byte_server *s)
{
    packet_say(s, ERROR, 0, "{\"error\":\"denied\",\"message\":\"not from there\"}");
    (void)byte_until_end(s);
}

static void
where_it_is_denied_there_is_one_retry_only(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_denied, NULL);
    m = client_open("cnp://%s", s.at);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_UNREACHABLE);
    assert_string_equal(msock_error_code(m), "denied");
    assert_non_null(strstr(msock_error(m), "not from there"));
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 2);
}

static void
serve_loss(struct byte_server *s)
{
    struct packet *p = malloc(sizeof(*p));

    greet(s, "step-by-step", 1);
    (void)packet_read(s, p);
    if (s->arg != NULL)
        byte_reset(s);
    free(p);
}

static void
without_its_ack_a_message_is_in_doubt_and_not_sent_again(void **state)
{
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        struct byte_server s;
        msock *m;

        byte_server_start(&s, serve_loss, reset ? &s : NULL);
        m = client_open("cnp://%s", s.at);
        assert_int_equal(msock_send(m, "one", 3), MSOCK_GIVEN_UP);
        assert_non_null(strstr(msock_error(m), "may have been committed"));
        msock_close(m);
        byte_server_stop(&s);
        assert_int_equal(s.connections, 1);
    }
}

/* The second of three messages in flight is too large; the first one has its answer. */
static void
serve_too_large(struct byte_server *s)
{
    uint16_t first, second;

    greet(s, "burst", 4);
    if (s->connections > 0) {
        packet_say(s, ACK, packet_expect(s, DATA, "three"), "ACK");
        expect_goodbye(s);
        return;
    }
    first = packet_expect(s, DATA, "one");
    second = packet_expect(s, DATA, "too large");
    (void)packet_expect(s, DATA, "three");
    packet_say(s, ACK, first, "ACK");
    packet_say(s, ERROR, second, "{\"error\":\"too-large\",\"message\":\"over 5\"}");
}

static void
note_outcome(void *arg, uint64_t number, enum msock_status status)
{
    enum msock_status *outcomes = arg;

    assert_true(number < 3);
    outcomes[number] = status;
}

static void
the_last_word_says_what_was_not_taken(void **state)
{
    enum msock_status outcomes[3] = {MSOCK_LOCAL, MSOCK_LOCAL, MSOCK_LOCAL};
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_too_large, NULL);
    m = client_open("cnp://%s?mode=burst", s.at);
    msock_set_settled(m, note_outcome, outcomes);
    assert_int_equal(msock_send_ahead(m, 'A', "one", 3), MSOCK_OK);
    assert_int_equal(msock_send_ahead(m, 'A', "too large", 9), MSOCK_OK);
    assert_int_equal(msock_send_ahead(m, 'A', "three", 5), MSOCK_OK);
    assert_int_equal(msock_flush(m, -1), MSOCK_OK);
    assert_int_equal(outcomes[0], MSOCK_OK);
    assert_int_equal(outcomes[1], MSOCK_REFUSED);
    assert_int_equal(outcomes[2], MSOCK_OK);
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 2);
}

static void
serve_last_word(struct byte_server *s)
{
    const char *code = s->arg;
    char payload[100];

    greet(s, "step-by-step", 1);
    snprintf(payload, sizeof(payload), "{\"error\":\"%s\",\"message\":\"so it is\"}", code);
    packet_say(s, ERROR, packet_expect(s, DATA, "one"), payload);
}

static void
the_reason_of_the_end_is_told(void **state)
{
    static const struct {
        const char *code;
        enum msock_status status;
        int connections;
    } cases[] = {{"too-large", MSOCK_REFUSED, 1},
                 {"internal", MSOCK_GIVEN_UP, 2},
                 {"handshake", MSOCK_GIVEN_UP, 2}, /* to a last step that was damaged on its way */
                 {"bad-session", MSOCK_GIVEN_UP, 2}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct msock_counts counts;
        struct byte_server s;
        msock *m;

        byte_server_start(&s, serve_last_word, (void *)(uintptr_t)cases[i].code);
        m = client_open("cnp://%s", s.at);
        msock_set_retries(m, 1, 1, 2);
        assert_int_equal(msock_send(m, "one", 3), cases[i].status);
        assert_string_equal(msock_error_code(m), cases[i].code);
        assert_non_null(strstr(msock_error(m), "so it is"));
        assert_null(strstr(msock_error(m), "may have been"));
        msock_get_counts(m, &counts);
        assert_int_equal(counts.err, cases[i].connections);
        msock_close(m);
        byte_server_stop(&s);
        assert_int_equal(s.connections, cases[i].connections);
    }
}

/* What the client cannot go on with: SYN-ACKs that are always damaged, last steps that always
 * arrive damaged, and a packet that there is not. */
static void
serve_impossible(struct byte_server *s)
{
    const char *damaged = "{\"error\":\"checksum\",\"message\":\"damaged\"}";
    struct packet *p = malloc(sizeof(*p));
    char which = *(const char *)s->arg;

    if (which != 'y')
        greet(s, "step-by-step", 1);
    while (which != 't' && packet_read(s, p)) {
        if (which == 'y')
            packet_say_with(s, ACK, 0, "{\"status\":\"ok\"}", 1);
        else
            packet_say(s, ERROR, 0, damaged);
    }
    if (which == 't')
        packet_say(s, 0x77, 0, "");
    (void)byte_until_end(s);
    free(p);
}

static void
the_end_that_the_client_makes_has_its_reason_too(void **state)
{
    static const struct {
        const char *which, *reason;
    } cases[] = {{"y", "too many damaged packets"},
                 {"s", "too many damaged packets"},
                 {"t", "there is no such packet"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct byte_server s;
        msock *m;

        byte_server_start(&s, serve_impossible, (void *)(uintptr_t)cases[i].which);
        m = client_open("cnp://%s", s.at);
        msock_set_retries(m, 0, 1, 2);
        assert_int_not_equal(msock_send(m, "one", 3), MSOCK_OK);
        assert_non_null(strstr(msock_error(m), cases[i].reason));
        msock_close(m);
        byte_server_stop(&s);
    }
}

static void
serve_refusal_then_disconnect(struct byte_server *s)
{
    greet(s, "step-by-step", 1);
    packet_say(s, ERROR, packet_expect(s, DATA, "one"),
               "{\"error\":\"refused\",\"message\":\"not today\"}");
    packet_expect(s, DATA, "two");
    packet_say(s, DISCONNECT, 7, "bye");
    packet_expect(s, ACK, "ACK");
}

static void
an_end_does_not_have_the_reason_of_an_earlier_refusal(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_refusal_then_disconnect, NULL);
    m = client_open("cnp://%s", s.at);
    msock_set_retries(m, 0, 1, 2);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_REFUSED);
    assert_int_equal(msock_send(m, "two", 3), MSOCK_GIVEN_UP);
    assert_null(strstr(msock_error(m), "not today"));
    assert_non_null(strstr(msock_error(m), "DISCONNECT"));
    msock_close(m);
    byte_server_stop(&s);
}

/* Four packets are on their way before any of them is acknowledged, the last one first. */
static void
serve_window(struct byte_server *s)
{
    struct packet *p = malloc(sizeof(*p));
    uint16_t sequences[4];

    greet(s, "burst", 4);
    for (int i = 0; i < 4; i++) {
        if (!packet_read(s, p) || p->type != FRAGMENT || p->length != 1000)
            byte_wrong(s, "a fragment");
        sequences[i] = p->sequence;
    }
    for (int i = 3; i >= 0; i--)
        packet_say(s, ACK, sequences[i], "ACK");
    if (!packet_read(s, p) || p->type != DATA || p->length != 500)
        byte_wrong(s, "the last packet");
    packet_say(s, ACK, p->sequence, "ACK");
    expect_goodbye(s);
    free(p);
}

static void
a_burst_fills_the_window(void **state)
{
    char *data = calloc(1, 4500);
    struct msock_counts counts;
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_window, NULL);
    m = client_open("cnp://%s?mode=burst&window_size=4", s.at);
    assert_int_equal(msock_send(m, data, 4500), MSOCK_OK);
    msock_get_counts(m, &counts);
    assert_int_equal(counts.messages, 1);
    msock_close(m);
    byte_server_stop(&s);
    free(data);
}

static void
serve_pushes(struct byte_server *s)
{
    greet(s, "step-by-step", 1);
    packet_say(s, DATA, 1, "news");
    if (packet_expect(s, ACK, "ACK") != 1)
        byte_wrong(s, "the ACK of a message");
    packet_say(s, ACK, packet_expect(s, DATA, "ask"), "ACK");
    packet_say(s, FRAGMENT, 2, "ans");
    packet_say(s, DATA, 3, "wer");
    expect_goodbye(s);
}

static void
replies_and_messages_of_the_server_are_acknowledged(void **state)
{
    struct byte_server s;
    const void *data;
    msock *m;
    size_t n;

    (void)state;
    byte_server_start(&s, serve_pushes, NULL);
    m = client_open("cnp://%s", s.at);
    assert_int_equal(msock_recv(m, 5000, &data, &n), MSOCK_OK);
    assert_string_equal(data, "news");
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "ask", 3), MSOCK_OK);
    assert_string_equal(msock_reply(m, &n), "answer");
    msock_close(m);
    byte_server_stop(&s);
}

/* A message of its own crosses the client's, in front of its ACK or around it; of the third message
 * the ACK is damaged. */
static void
serve_crossings(struct byte_server *s)
{
    uint16_t sequence;

    greet(s, "step-by-step", 1);
    sequence = packet_expect(s, DATA, "one");
    packet_say(s, DATA, 1, "news");
    packet_say(s, ACK, sequence, "ACK");
    packet_say(s, DATA, 2, "reply to one");
    (void)packet_expect(s, ACK, "ACK");
    (void)packet_expect(s, ACK, "ACK");
    sequence = packet_expect(s, DATA, "two");
    packet_say(s, FRAGMENT, 3, "more ");
    packet_say(s, ACK, sequence, "ACK");
    packet_say(s, DATA, 4, "news");
    packet_say(s, DATA, 5, "reply to two");
    for (int i = 0; i < 3; i++)
        (void)packet_expect(s, ACK, "ACK");
    sequence = packet_expect(s, DATA, "three");
    packet_say_with(s, ACK, sequence, "ACK", 1);
    packet_say(s, DATA, 6, "reply to three");
    (void)packet_expect(s, ERROR,
                        "{\"error\": \"checksum\", \"message\": "
                        "\"the payload does not have this checksum\"}");
    packet_say(s, ACK, sequence, "ACK");
    expect_goodbye(s);
}

static void
what_begins_before_its_ack_is_no_reply_to_a_message(void **state)
{
    static const char *const words[] = {"one", "two", "three"};
    static const char *const news[] = {"news", "more news"};
    struct byte_server s;
    const void *data;
    char reply[40];
    msock *m;

    (void)state;
    byte_server_start(&s, serve_crossings, NULL);
    m = client_open("cnp://%s", s.at);
    msock_set_want_reply(m, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(msock_send(m, words[i], strlen(words[i])), MSOCK_OK);
        snprintf(reply, sizeof(reply), "reply to %s", words[i]);
        assert_string_equal(msock_reply(m, NULL), reply);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(msock_recv(m, 5000, &data, NULL), MSOCK_OK);
        assert_string_equal(data, news[i]);
    }
    msock_close(m);
    byte_server_stop(&s);
}

#define CHATTER_S 10 /* much longer than the client's patience */

/* Packets that make no message, until the client closes. */
static void
serve_chatter(struct byte_server *s)
{
    time_t end = time(NULL) + CHATTER_S;
    uint8_t packets[200 * 14], one[14] = {0, 0, 0, 3, ACK, 0, 7, 0, 0, 0, 0, 'A', 'C', 'K'};

    greet(s, "step-by-step", 1);
    sum("ACK", 3, one + 7);
    for (size_t i = 0; i < sizeof(packets); i += sizeof(one))
        memcpy(packets + i, one, sizeof(one));
    while (time(NULL) < end && send(s->fd, packets, sizeof(packets), MSG_NOSIGNAL) > 0)
        continue;
}

static void
chatter_without_end_holds_up_no_call(void **state)
{
    struct byte_server s;
    const void *data;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_chatter, NULL);
    m = client_open("cnp://%s", s.at);
    assert_int_equal(msock_recv(m, 50, &data, NULL), MSOCK_TIMEOUT);
    assert_int_equal(msock_recv(m, 0, &data, NULL), MSOCK_TIMEOUT);
    msock_set_timeouts(m, 50, 50);
    assert_int_equal(msock_connect(m), MSOCK_OK);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_GIVEN_UP);
    msock_close(m);
    byte_server_stop(&s);
}

static void
addresses_say_mode_and_window(void **state)
{
    static const char *const good[] = {"", "?mode=step-by-step", "?mode=burst",
                                       "?mode=burst&window_size=1024"};
    static const char *const bad[] = {"?mode=fast", "?window_size=4", "?mode=burst&window_size=1",
                                      "?mode=burst&window_size=1025", "?framing=eof"};
    char url[100];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(url, sizeof(url), "cnp://127.0.0.1:1%s", good[i]);
        assert_int_equal(msock_url_error(url, NULL, 0), MSOCK_OK);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(url, sizeof(url), "cnp://127.0.0.1:1%s", bad[i]);
        assert_int_equal(msock_url_error(url, NULL, 0), MSOCK_USAGE);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_taken_refused_or_sent_again),
        cmocka_unit_test(a_handshake_that_is_refused_makes_it_unreachable),
        cmocka_unit_test(where_it_is_denied_there_is_one_retry_only),
        cmocka_unit_test(without_its_ack_a_message_is_in_doubt_and_not_sent_again),
        cmocka_unit_test(the_last_word_says_what_was_not_taken),
        cmocka_unit_test(the_reason_of_the_end_is_told),
        cmocka_unit_test(the_end_that_the_client_makes_has_its_reason_too),
        cmocka_unit_test(an_end_does_not_have_the_reason_of_an_earlier_refusal),
        cmocka_unit_test(a_burst_fills_the_window),
        cmocka_unit_test(replies_and_messages_of_the_server_are_acknowledged),
        cmocka_unit_test(what_begins_before_its_ack_is_no_reply_to_a_message),
        cmocka_unit_test(chatter_without_end_holds_up_no_call),
        cmocka_unit_test(addresses_say_mode_and_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

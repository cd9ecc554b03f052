/* tinyproto at either end of a connection: what it says to what it hears, byte for byte
 * (docs/protocol.md 2), and every signal where none belongs. */
#include "tinyproto_peer.h"

/* --- conversations --- */

/* "A > B, C > D": when A happens B is said. A is bytes that come, in hex, or "push TEXT". */
struct conversation {
    const char *name;
    enum proto_role role;
    bool echo;
    const char *script;
    const char *delivers; /* bodies with a comma behind each */
};

static const struct conversation conversations[] = {
    {"a message", PROTO_SERVER, false, "ff > ff, 00000005 > ff, 68656c6c6f >", "hello,"},
    {"an empty message", PROTO_SERVER, false, "ff > ff, 00000000 > ff", ","},
    {"a message and its echo", PROTO_SERVER, true,
     "ff > ff, 00000005 > ff, 68656c6c6f > 00000005, ff > 68656c6c6f", "hello,"},
    {"an empty message and its echo, and another", PROTO_SERVER, true,
     "ff > ff, 00000000 > ff 00000000, ff >, 00000001 > ff, 61 > 00000001, ff > 61", ",a,"},
    {"a message that nobody asked for", PROTO_SERVER, false,
     "ff > ff, push hi > 00000002, ff > 6869", ""},
    {"a push before the opening waits for it", PROTO_SERVER, false,
     "push hi >, ff > ff 00000002, ff > 6869", ""},
    {"a second push follows the payload of the first", PROTO_SERVER, false,
     "ff > ff, push a > 00000001, push b >, ff > 61 00000001, ff > 62", ""},
    {"the server yields", PROTO_SERVER, false,
     "ff > ff, push hi > 00000002, 00000003 > ff, 616263 >, ff > 6869", "abc,"},
    {"the server yields to a message that is empty", PROTO_SERVER, false,
     "ff > ff, push hi > 00000002, 00000000 > ff, ff > 6869", ","},
    {"the server does not begin inside the client's SIZE", PROTO_SERVER, false,
     "ff > ff, 0000 >, push hi >, 0003 > ff, 616263 > 00000002, ff > 6869", "abc,"},
    {"the server does not begin inside the client's payload", PROTO_SERVER, false,
     "ff > ff, 00000003 > ff, 61 >, push hi >, 6263 > 00000002, ff > 6869", "abc,"},
    {"the client's second SIZE left before it saw the server's", PROTO_SERVER, true,
     "ff > ff, 00000001 > ff, 61 > 00000001, 00000001 > ff, 62 >, ff > 61 00000001, ff > 62",
     "a,b,"},
    {"the client sends on and answers at last", PROTO_SERVER, true,
     "ff > ff, 00000001 > ff, 61 > 00000001, 00000001 > ff, 62 >, 00000001 > ff, 63 >, "
     "ff > 61 00000001, ff > 62 00000001, ff > 63",
     "a,b,c,"},
    {"the client begins right behind its OK", PROTO_SERVER, false,
     "ff > ff, push hi > 00000002, ff 00000001 > 6869 ff, 61 >", "a,"},
    {"a payload may hold what would be signals", PROTO_SERVER, false,
     "ff > ff, push hi > 00000002, 00000003 > ff, fffefd >, ff > 6869", "\xff\xfe\xfd,"},
    {"a client sends", PROTO_CLIENT, false,
     "> ff, push hello >, ff > 00000005, ff > 68656c6c6f, push a > 00000001, push b >, "
     "ff > 61 00000001, ff > 62",
     ""},
    {"a client receives", PROTO_CLIENT, false, "> ff, ff >, 00000002 > ff, 6869 >, 00000000 > ff",
     "hi,,"},
    {"the client goes first", PROTO_CLIENT, false,
     "> ff, ff >, push abc > 00000003, 00000002 >, ff > 616263 ff, 6869 >", "hi,"},
    {"the client goes before an empty message", PROTO_CLIENT, false,
     "> ff, ff >, push abc > 00000003, 00000000 >, ff > 616263 ff", ","},
    {"the client goes first with one message, not with two", PROTO_CLIENT, false,
     "> ff, ff >, push abc > 00000003, push d >, 00000002 >, ff > 616263 ff, "
     "6869 > 00000001, ff > 64",
     "hi,"},
    {"the client does not begin inside the server's SIZE", PROTO_CLIENT, false,
     "> ff, ff 0000 >, push abc >, 0002 > ff, 6869 > 00000003, ff > 616263", "hi,"},
    {"the client's OK and its next SIZE after a crossing", PROTO_CLIENT, false,
     "> ff, ff >, push a > 00000001, 00000001 >, ff 73 > 61 ff, push b > 00000001, 00000001 >, "
     "ff 74 > 62 ff",
     "s,t,"},
};

/* One step of the script at *at, which moves to the next. */
static void
take_step(struct proto_peer *p, const char **at, size_t piece)
{
    const char *arrow = strstr(*at, ">"), *next = strstr(arrow, ", ");

    if (strncmp(*at, "push ", 5) == 0)
        assert_int_equal(proto_peer_push(p, *at + 5, (size_t)(arrow - *at) - 6), 0);
    else
        hears(p, *at, piece);
    says(p, arrow + 1);
    *at = next != NULL ? next + 2 : NULL;
}

static void
converse(const struct conversation *c, size_t piece)
{
    struct proto_peer p;
    char delivered[64] = "";

    proto_peer_init(&p, &tinyproto_protocol);
    p.echo = c->echo;
    p.limits.reply = c->echo ? REPLY_YES : REPLY_NO;
    proto_peer_begin(&p, c->role);
    for (const char *at = c->script; at != NULL;)
        take_step(&p, &at, piece);
    for (size_t i = 0; i < p.delivered_count; i++) {
        strcat(delivered, p.delivered[i].body);
        strcat(delivered, ",");
    }
    assert_string_equal(delivered, c->delivers);
    assert_false(p.closed);
    assert_true(tinyproto_protocol.idle(&p.state));
    assert_true(outbox_idle(&p.outbox));
    assert_int_equal(p.tally.packets, p.delivered_count);
    assert_int_equal(p.tally.acks, p.delivered_count);
    assert_int_equal(p.tally.messages, p.delivered_count);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

static void
every_conversation_goes_as_written_whole_and_in_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(conversations); i++) {
        print_message("%s\n", conversations[i].name); /* the last one is the one that failed */
        for (size_t piece = 1; piece < 6; piece++)
            converse(&conversations[i], piece);
    }
}

static void
check_sent_ahead(struct proto_peer *p, const void *arg)
{
    (void)arg;
    proto_peer_expect_said(p, "\xff\xff\xff\xff", 4);
    assert_int_equal(p->delivered_count, 3);
    proto_peer_expect_delivered(p, 0, "hello", 5);
    proto_peer_expect_delivered(p, 1, "", 0);
    proto_peer_expect_delivered(p, 2, "\xff\0", 2);
    assert_false(p->closed);
}

static void
messages_are_found_however_their_bytes_arrive(void **state)
{
    static const char bytes[] = "\xff\0\0\0\5hello\0\0\0\0\0\0\0\2\xff";
    struct peer_case c = {
        .proto = &tinyproto_protocol, .data = bytes, .n = sizeof(bytes), .check = check_sent_ahead};

    (void)state;
    peer_case_run(&c);
}

static void
the_digest_is_there_for_who_wants_it(void **state)
{
    static const uint8_t none[SHA256_LEN];

    (void)state;
    for (int wanted = 0; wanted < 2; wanted++) {
        struct proto_peer p;
        uint8_t sum[SHA256_LEN];

        begin_open(&p);
        p.want_digest = wanted != 0;
        p.hold = true;
        hears_and_says(&p, "00000001 61", "ff");
        digest_sha256(p.store.digester, "a", 1, sum);
        assert_memory_equal(p.held[0].message->sha256, wanted != 0 ? sum : none, SHA256_LEN);
        proto_peer_fini(&p);
    }
}

static void
what_left_is_counted_for_a_client(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    hears_and_says(&p, "ff", "ff");
    assert_int_equal(proto_peer_push(&p, "a", 1), 0);
    assert_int_equal(proto_peer_push(&p, "", 0), 0);
    assert_int_equal(p.results.sent, 0);
    hears_and_says(&p, "ff", "00000001 61 00000000");
    assert_int_equal(p.results.sent, 1);
    hears_and_says(&p, "ff", "");
    assert_int_equal(p.results.sent, 2);
    proto_peer_fini(&p);
}

/* --- signals where none belong --- */

static void
a_server_is_opened_by_ok_alone(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 0xff; byte++) {
        struct proto_peer p;

        begin(&p, PROTO_SERVER);
        proto_peer_hear(&p, (uint8_t[]){(uint8_t)byte, 0xff}, 2, PEER_WHOLE, false);
        expect_fault(&p);
        proto_peer_fini(&p);
    }
}

static void
a_client_takes_a_refusal_without_a_word_and_nothing_else(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 0xff; byte++) {
        bool refusal = byte == 0x00 || byte == 0xfd || byte == 0xfe;
        struct proto_peer p;

        begin(&p, PROTO_CLIENT);
        says(&p, "ff");
        proto_peer_hear(&p, &(uint8_t){(uint8_t)byte}, 1, 1, false);
        if (refusal) {
            says(&p, "");
            assert_true(p.closed);
            assert_int_equal(p.tally.err, 0);
        } else {
            expect_fault(&p);
        }
        proto_peer_fini(&p);
    }
}

static void
a_signal_where_none_belongs_ends_the_connection(void **state)
{
    (void)state;
    for (unsigned byte = 0xf1; byte <= 0xff; byte++)
        for (int asking = 0; asking < 2; asking++) {
            struct proto_peer p;

            begin_open(&p);
            if (asking != 0) {
                proto_peer_push(&p, "hi", 2);
                says(&p, "00000002");
            }
            if (asking == 0 || byte != 0xff) {
                proto_peer_hear(&p, &(uint8_t){(uint8_t)byte}, 1, 1, false);
                expect_fault(&p);
            }
            proto_peer_fini(&p);
        }
}

static void
a_client_that_was_crossed_takes_its_ok_and_nothing_else(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 0xff; byte++) {
        struct proto_peer p;

        begin(&p, PROTO_CLIENT);
        hears_and_says(&p, "ff", "ff");
        proto_peer_push(&p, "hi", 2);
        hears_and_says(&p, "00000002", "00000002");
        proto_peer_hear(&p, &(uint8_t){(uint8_t)byte}, 1, 1, false);
        expect_fault(&p);
        proto_peer_fini(&p);
    }
}

static void
a_generic_error_in_place_of_ok_ends_with_the_peer(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    proto_peer_push(&p, "hi", 2);
    hears_and_says(&p, "00", "00000002");
    assert_false(p.closed); /* it could be the beginning of a SIZE */
    proto_peer_eof(&p);
    says(&p, "");
    assert_true(p.closed);
    assert_int_equal(p.delivered_count, 0);
    proto_peer_fini(&p);
}

/* --- the end --- */

static void
a_message_cut_short_is_never_handed_on(void **state)
{
    static const char *const parts[] = {"", "ff", "ff 00", "ff 00000005", "ff 00000005 61626364"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++) {
        struct proto_peer p;

        begin(&p, PROTO_SERVER);
        hears(&p, parts[i], PEER_WHOLE);
        proto_peer_eof(&p);
        assert_true(p.closed);
        assert_int_equal(p.delivered_count, 0);
        assert_int_equal(p.tally.packets, 0);
        proto_peer_fini(&p);
    }
}

static void
leaving_is_said_only_inside_a_message(void **state)
{
    static const struct {
        const char *heard, *pushed, *said_before, *said;
    } cases[] = {
        {"", NULL, "", ""},
        {"ff", NULL, "ff", ""},
        {"ff 00", NULL, "ff", "00"},
        {"ff 00000005", NULL, "ff ff", "00"},
        {"ff 00000005 61", NULL, "ff ff", "00"},
        {"ff 00000001 61", NULL, "ff ff", ""},
        {"ff", "hi", "ff 00000002", "00"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;
        bool idle = cases[i].said[0] == '\0';

        begin(&p, PROTO_SERVER);
        hears(&p, cases[i].heard, PEER_WHOLE);
        if (cases[i].pushed != NULL)
            proto_peer_push(&p, cases[i].pushed, strlen(cases[i].pushed));
        says(&p, cases[i].said_before);
        assert_int_equal(tinyproto_protocol.idle(&p.state), idle);
        proto_peer_shutdown(&p);
        says(&p, cases[i].said);
        assert_true(p.answers.ended);
        assert_int_equal(p.tally.err, idle ? 0 : 1);
        proto_peer_shutdown(&p);
        says(&p, "");
        proto_peer_fini(&p);
    }
}

static void
the_end_is_told_with_the_byte_that_brings_it_and_with_all_behind_it(void **state)
{
    const uint8_t bytes[] = {0xff, 0x00, 0x00};
    struct answers answers;
    struct outbox outbox;
    struct proto_tally tally = {0};
    struct proto_io io = {.answers = &answers, .outbox = &outbox, .tally = &tally};
    struct tinyproto tp = {.state = TINYPROTO_BETWEEN, .asking = true};
    struct message *m = NULL;
    size_t used = 0;

    (void)state;
    answers_init(&answers, NULL);
    outbox_init(&outbox, NULL);
    outbox_push(&outbox, blob_create(NULL, "hi", 2));
    outbox_end(&outbox, outbox_reserve(&outbox));
    assert_int_equal(tinyproto_protocol.feed(&tp, &io, bytes, 1, &used, &m), PROTO_CLOSE);
    assert_int_equal(used, 1);
    assert_int_equal(answers.ready.bytes.len, 3);
    assert_memory_equal(buffer_bytes(&answers.ready.bytes), "hi\0", 3);
    assert_int_equal(tinyproto_protocol.feed(&tp, &io, bytes, 3, &used, &m), PROTO_CLOSE);
    assert_int_equal(used, 3);
    assert_int_equal(tinyproto_protocol.expire(&tp, &io), PROTO_CLOSE);
    assert_int_equal(answers.ready.bytes.len, 3);
    outbox_fini(&outbox);
    answers_fini(&answers);
}

static void
who_is_turned_away_is_told_why_in_a_byte(void **state)
{
    char out[PROTO_REFUSAL_MAX];

    (void)state;
    assert_int_equal(tinyproto_protocol.refusal("busy", "too many", out), 1);
    assert_int_equal((uint8_t)out[0], TINYPROTO_CONLIMIT);
    assert_int_equal(tinyproto_protocol.refusal("denied", "not you", out), 1);
    assert_int_equal((uint8_t)out[0], TINYPROTO_GENERIC_ERROR);
}

static void
an_idle_connection_can_be_given_to_another_process(void **state)
{
    (void)state;
    assert_non_null(tinyproto_protocol.adopt);
    assert_true(sizeof(struct tinyproto) <= sizeof(struct msp));
    assert_ptr_equal(proto_find("tinyproto"), &tinyproto_protocol);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_conversation_goes_as_written_whole_and_in_pieces),
        cmocka_unit_test(messages_are_found_however_their_bytes_arrive),
        cmocka_unit_test(the_digest_is_there_for_who_wants_it),
        cmocka_unit_test(what_left_is_counted_for_a_client),
        cmocka_unit_test(a_server_is_opened_by_ok_alone),
        cmocka_unit_test(a_client_takes_a_refusal_without_a_word_and_nothing_else),
        cmocka_unit_test(a_signal_where_none_belongs_ends_the_connection),
        cmocka_unit_test(a_client_that_was_crossed_takes_its_ok_and_nothing_else),
        cmocka_unit_test(a_generic_error_in_place_of_ok_ends_with_the_peer),
        cmocka_unit_test(a_message_cut_short_is_never_handed_on),
        cmocka_unit_test(leaving_is_said_only_inside_a_message),
        cmocka_unit_test(the_end_is_told_with_the_byte_that_brings_it_and_with_all_behind_it),
        cmocka_unit_test(who_is_turned_away_is_told_why_in_a_byte),
        cmocka_unit_test(an_idle_connection_can_be_given_to_another_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

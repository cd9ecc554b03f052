/* tinyproto at either end of a connection: what it says to what it hears, byte for byte, and every
 * limit, signal and deadline of PROTOCOL.md section 2. Two machines back to back are in
 * test_tinyproto_pair.c. */
#include "proto_peer.h"

#include <errno.h>

static struct tinyproto *
machine(struct proto_peer *p)
{
    return &p->state.tinyproto;
}

static void
begin(struct proto_peer *p, enum proto_role role)
{
    proto_peer_init(p, &tinyproto_protocol);
    proto_peer_begin(p, role);
}

/* Bytes written as hex, with spaces where it helps. Returns how many. */
static size_t
unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    int used;
    unsigned v;

    for (; sscanf(hex, " %2x%n", &v, &used) == 1; hex += used)
        out[n++] = (uint8_t)v;
    return n;
}

static void
hears(struct proto_peer *p, const char *hex, size_t piece)
{
    uint8_t bytes[64];

    proto_peer_hear(p, bytes, unhex(hex, bytes), piece, false);
}

static void
says(struct proto_peer *p, const char *hex)
{
    uint8_t bytes[64];

    proto_peer_expect_said(p, bytes, unhex(hex, bytes));
}

static void
hears_and_says(struct proto_peer *p, const char *heard, const char *said)
{
    hears(p, heard, PEER_WHOLE);
    says(p, said);
}

/* A server whose opening is over. */
static void
begin_open(struct proto_peer *p)
{
    begin(p, PROTO_SERVER);
    hears_and_says(p, "ff", "ff");
}

/* --- conversations --- */

#define PUSH "push "

/* What happens ("push TEXT", or bytes that come), and what is said to it. */
struct step {
    const char *happens, *says;
};

struct conversation {
    const char *name;
    enum proto_role role;
    bool echo;
    struct step steps[12];
    const char *delivers; /* bodies with a comma behind each */
    bool closes;
};

static const struct conversation conversations[] = {
    {.name = "a message",
     .steps = {{"ff", "ff"}, {"00000005", "ff"}, {"68656c6c6f", ""}},
     .delivers = "hello,"},
    {.name = "an empty message", .steps = {{"ff", "ff"}, {"00000000", "ff"}}, .delivers = ","},
    {.name = "a message and its echo",
     .echo = true,
     .steps = {{"ff", "ff"}, {"00000005", "ff"}, {"68656c6c6f", "00000005"}, {"ff", "68656c6c6f"}},
     .delivers = "hello,"},
    {.name = "an empty message and its echo, and another",
     .echo = true,
     .steps = {{"ff", "ff"},
               {"00000000", "ff 00000000"},
               {"ff", ""},
               {"00000001", "ff"},
               {"61", "00000001"},
               {"ff", "61"}},
     .delivers = ",a,"},
    {.name = "a message that nobody asked for",
     .steps = {{"ff", "ff"}, {PUSH "hi", "00000002"}, {"ff", "6869"}},
     .delivers = ""},
    {.name = "a push before the opening waits for it",
     .steps = {{PUSH "hi", ""}, {"ff", "ff 00000002"}, {"ff", "6869"}},
     .delivers = ""},
    {.name = "a second push follows the payload of the first",
     .steps = {{"ff", "ff"},
               {PUSH "a", "00000001"},
               {PUSH "b", ""},
               {"ff", "61 00000001"},
               {"ff", "62"}},
     .delivers = ""},
    {.name = "the server yields",
     .steps = {{"ff", "ff"},
               {PUSH "hi", "00000002"},
               {"00000003", "ff"},
               {"616263", ""},
               {"ff", "6869"}},
     .delivers = "abc,"},
    {.name = "the server yields to a message that is empty",
     .steps = {{"ff", "ff"}, {PUSH "hi", "00000002"}, {"00000000", "ff"}, {"ff", "6869"}},
     .delivers = ","},
    {.name = "the server does not begin inside the client's SIZE",
     .steps = {{"ff", "ff"},
               {"0000", ""},
               {PUSH "hi", ""},
               {"0003", "ff"},
               {"616263", "00000002"},
               {"ff", "6869"}},
     .delivers = "abc,"},
    {.name = "the server does not begin inside the client's payload",
     .steps = {{"ff", "ff"},
               {"00000003", "ff"},
               {"61", ""},
               {PUSH "hi", ""},
               {"6263", "00000002"},
               {"ff", "6869"}},
     .delivers = "abc,"},
    {.name = "the client's second SIZE left before it saw the server's",
     .echo = true,
     .steps = {{"ff", "ff"},
               {"00000001", "ff"},
               {"61", "00000001"},
               {"00000001", "ff"},
               {"62", ""},
               {"ff", "61 00000001"},
               {"ff", "62"}},
     .delivers = "a,b,"},
    {.name = "the client sends on and answers at last",
     .echo = true,
     .steps = {{"ff", "ff"},
               {"00000001", "ff"},
               {"61", "00000001"},
               {"00000001", "ff"},
               {"62", ""},
               {"00000001", "ff"},
               {"63", ""},
               {"ff", "61 00000001"},
               {"ff", "62 00000001"},
               {"ff", "63"}},
     .delivers = "a,b,c,"},
    {.name = "the client begins right behind its OK",
     .steps = {{"ff", "ff"}, {PUSH "hi", "00000002"}, {"ff 00000001", "6869 ff"}, {"61", ""}},
     .delivers = "a,"},
    {.name = "a payload may hold what would be signals",
     .steps = {{"ff", "ff"},
               {PUSH "hi", "00000002"},
               {"00000003", "ff"},
               {"fffefd", ""},
               {"ff", "6869"}},
     .delivers = "\xff\xfe\xfd,"},
    {.name = "a client sends",
     .role = PROTO_CLIENT,
     .steps = {{"", "ff"},
               {PUSH "hello", ""},
               {"ff", "00000005"},
               {"ff", "68656c6c6f"},
               {PUSH "a", "00000001"},
               {PUSH "b", ""},
               {"ff", "61 00000001"},
               {"ff", "62"}},
     .delivers = ""},
    {.name = "a client receives",
     .role = PROTO_CLIENT,
     .steps = {{"", "ff"}, {"ff", ""}, {"00000002", "ff"}, {"6869", ""}, {"00000000", "ff"}},
     .delivers = "hi,,"},
    {.name = "the client goes first",
     .role = PROTO_CLIENT,
     .steps = {{"", "ff"},
               {"ff", ""},
               {PUSH "abc", "00000003"},
               {"00000002", ""},
               {"ff", "616263 ff"},
               {"6869", ""}},
     .delivers = "hi,"},
    {.name = "the client goes before an empty message",
     .role = PROTO_CLIENT,
     .steps =
         {{"", "ff"}, {"ff", ""}, {PUSH "abc", "00000003"}, {"00000000", ""}, {"ff", "616263 ff"}},
     .delivers = ","},
    {.name = "the client goes first with one message, not with two",
     .role = PROTO_CLIENT,
     .steps = {{"", "ff"},
               {"ff", ""},
               {PUSH "abc", "00000003"},
               {PUSH "d", ""},
               {"00000002", ""},
               {"ff", "616263 ff"},
               {"6869", "00000001"},
               {"ff", "64"}},
     .delivers = "hi,"},
    {.name = "the client does not begin inside the server's SIZE",
     .role = PROTO_CLIENT,
     .steps = {{"", "ff"},
               {"ff 0000", ""},
               {PUSH "abc", ""},
               {"0002", "ff"},
               {"6869", "00000003"},
               {"ff", "616263"}},
     .delivers = "hi,"},
    {.name = "the client's OK and its next SIZE after a crossing",
     .role = PROTO_CLIENT,
     .steps = {{"", "ff"},
               {"ff", ""},
               {PUSH "a", "00000001"},
               {"00000001", ""},
               {"ff 73", "61 ff"},
               {PUSH "b", "00000001"},
               {"00000001", ""},
               {"ff 74", "62 ff"}},
     .delivers = "s,t,"},
    {.name = "a SIZE that crossed the client's, and then no OK",
     .role = PROTO_CLIENT,
     .steps = {{"", "ff"}, {"ff", ""}, {PUSH "abc", "00000003"}, {"00000002", ""}, {"00", "00"}},
     .delivers = "",
     .closes = true},
};

static void
take_step(struct proto_peer *p, const struct step *s, size_t piece)
{
    size_t skip = strlen(PUSH);

    if (strncmp(s->happens, PUSH, skip) == 0)
        assert_int_equal(proto_peer_push(p, s->happens + skip, strlen(s->happens + skip)), 0);
    else
        hears(p, s->happens, piece);
    says(p, s->says);
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
    for (const struct step *s = c->steps; s->happens != NULL; s++)
        take_step(&p, s, piece);
    for (size_t i = 0; i < p.delivered_count; i++) {
        strcat(delivered, p.delivered[i].body);
        strcat(delivered, ",");
    }
    assert_string_equal(delivered, c->delivers);
    assert_int_equal(p.closed, c->closes);
    if (!c->closes) {
        assert_true(tinyproto_protocol.idle(&p.state));
        assert_true(outbox_idle(&p.outbox));
        assert_int_equal(p.tally.packets, p.delivered_count);
        assert_int_equal(p.tally.acks, p.delivered_count);
        assert_int_equal(p.tally.messages, p.delivered_count);
        assert_int_equal(p.tally.err, 0);
    }
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

/* Ends with GENERIC_ERROR, which is counted, and hears nothing more. */
static void
expect_fault(struct proto_peer *p)
{
    says(p, "00");
    assert_true(p->closed);
    assert_true(p->answers.ended);
    assert_int_equal(p->tally.err, 1);
    assert_int_equal(machine(p)->state, TINYPROTO_CLOSED);
    assert_int_equal(proto_peer_patience(p), UINT64_MAX);
}

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

/* --- limits --- */

static void
a_size_up_to_the_limit_is_taken(void **state)
{
    static const struct {
        uint64_t limit;
        const char *size;
        bool taken;
    } cases[] = {
        {5, "00000005", true},           {5, "00000006", false},
        {0, "00000000", true},           {0, "00000001", false},
        {65536, "00010000", true},       {65536, "00010001", false},
        {UINT64_MAX, "f0ffffff", true},  {UINT32_MAX, "f0ffffff", true},
        {UINT32_MAX, "f1000000", false}, {0xf0fffffe, "f0ffffff", false},
        {UINT64_MAX, "ffffffff", false}, {5, "f0000000", false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin_open(&p);
        p.limits.max_message_size = cases[i].limit;
        hears(&p, cases[i].size, i % 4 + 1);
        if (cases[i].taken) {
            says(&p, "ff");
            assert_int_equal(p.tally.acks, 1);
        } else {
            expect_fault(&p);
            assert_int_equal(p.tally.acks, 0);
        }
        proto_peer_fini(&p);
    }
}

static void
a_size_over_the_limit_is_not_kept_for_later(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    p.limits.max_message_size = 5;
    hears_and_says(&p, "ff", "ff");
    proto_peer_push(&p, "hi", 2);
    says(&p, "00000002");
    hears(&p, "00000006", 1);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
a_push_over_what_can_be_sent_is_too_long(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    errno = 0;
    assert_int_equal(proto_peer_push(&p, "", (size_t)TINYPROTO_SEND_MAX + 1), -1);
    assert_int_equal(errno, EMSGSIZE);
    assert_true(outbox_idle(&p.outbox));
    says(&p, "");
    proto_peer_fini(&p);
}

static void
who_sends_on_and_takes_nothing_back_is_cut_off(void **state)
{
    static uint8_t wire[100004] = {0x00, 0x01, 0x86, 0xa0};
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.echo = true;
    p.limits.reply = REPLY_YES;
    while (!p.closed && p.delivered_count < 100)
        proto_peer_hear(&p, wire, sizeof(wire), PEER_WHOLE, false);
    assert_int_equal(machine(&p)->state, TINYPROTO_CLOSED);
    assert_int_equal(p.tally.err, 1);
    assert_int_equal(p.delivered_count, TINYPROTO_BACKLOG_MAX / 100000 + 1);
    proto_peer_fini(&p);
}

static void
what_waits_may_be_empty_and_is_too_much_all_the_same(void **state)
{
    struct proto_peer p;
    size_t pushes = 0;

    (void)state;
    begin_open(&p);
    for (; p.outbox.bytes <= TINYPROTO_BACKLOG_MAX && pushes < TINYPROTO_BACKLOG_MAX; pushes++)
        assert_int_equal(proto_peer_push(&p, "", 0), 0);
    assert_true(pushes < TINYPROTO_BACKLOG_MAX);
    says(&p, "00000000");
    hears_and_says(&p, "00000000", "ff"); /* this one may have crossed ours */
    hears(&p, "00000000", PEER_WHOLE);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
a_large_reply_does_not_make_a_crossing_a_fault(void **state)
{
    static uint8_t reply[TINYPROTO_BACKLOG_MAX + 1];
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    assert_int_equal(proto_peer_push(&p, reply, sizeof(reply)), 0);
    says(&p, "00100001");
    hears_and_says(&p, "00000001", "ff");
    hears_and_says(&p, "61", "");
    hears(&p, "ff", 1);
    proto_peer_expect_said(&p, reply, sizeof(reply));
    assert_false(p.closed);
    proto_peer_fini(&p);
}

static int
no_file(void *arg)
{
    (void)arg;
    errno = ENOSPC;
    return -1;
}

static void
a_body_that_cannot_be_kept_ends_the_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.store.memory_max = 4;
    p.store.spill_open = no_file;
    hears_and_says(&p, "00000005", "ff");
    hears(&p, "6162636465", 2);
    expect_fault(&p);
    assert_int_equal(p.delivered_count, 0);
    assert_int_equal(p.tally.messages, 0);
    proto_peer_fini(&p);
}

/* --- replies --- */

/* An open server that has taken the messages "0", "1", "2" and so on and answered none. */
static void
begin_held(struct proto_peer *p, unsigned messages)
{
    begin_open(p);
    p->limits.reply = REPLY_YES;
    p->hold = true;
    for (unsigned i = 0; i < messages; i++) {
        hears_and_says(p, "00000001", "ff");
        proto_peer_hear(p, &(char){(char)('0' + i)}, 1, 1, false);
    }
    says(p, "");
}

static void
settle(struct proto_peer *p, size_t i, const char *reply)
{
    struct verdict yes = {.outcome = PROTO_COMMITTED, .reply = reply};

    yes.reply_len = reply != NULL ? strlen(reply) : 0;
    proto_peer_settle(p, i, &yes);
}

static void
replies_leave_in_the_order_of_their_messages(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, 3);
    settle(&p, 2, "C");
    says(&p, "");
    settle(&p, 0, "A");
    says(&p, "00000001");
    settle(&p, 1, "B");
    hears_and_says(&p, "ff", "41 00000001");
    hears_and_says(&p, "ff", "42 00000001");
    hears_and_says(&p, "ff", "43");
    assert_true(outbox_idle(&p.outbox));
    assert_int_equal(p.tally.messages, 3);
    proto_peer_fini(&p);
}

static void
a_push_does_not_wait_for_a_reply(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, 1);
    proto_peer_push(&p, "p", 1);
    says(&p, "00000001");
    settle(&p, 0, "A");
    hears_and_says(&p, "ff", "70 00000001");
    hears_and_says(&p, "ff", "41");
    proto_peer_fini(&p);
}

static void
a_reply_at_once_waits_behind_those_still_to_come(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, 1);
    p.hold = false;
    p.echo = true;
    hears_and_says(&p, "00000001", "ff");
    hears_and_says(&p, "42", "");
    settle(&p, 0, "A");
    says(&p, "00000001");
    hears_and_says(&p, "ff", "41 00000001");
    hears_and_says(&p, "ff", "42");
    proto_peer_fini(&p);
}

static void
where_there_is_no_reply_the_next_one_follows(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, 2);
    settle(&p, 1, "B");
    settle(&p, 0, NULL);
    says(&p, "00000001");
    hears_and_says(&p, "ff", "42");
    assert_int_equal(p.tally.messages, 2);
    proto_peer_fini(&p);
}

static void
nothing_goes_back_where_no_reply_is_wanted(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.limits.reply = REPLY_NO;
    p.hold = true;
    hears_and_says(&p, "00000001", "ff");
    hears_and_says(&p, "61", "");
    assert_null(p.held[0].place);
    assert_false(p.held[0].message->wants_reply);
    settle(&p, 0, "A");
    says(&p, "");
    assert_true(outbox_idle(&p.outbox));
    assert_int_equal(p.tally.messages, 1);
    proto_peer_fini(&p);
}

static void
only_handlers_that_answer_do_so_unless_told_otherwise(void **state)
{
    static const struct {
        enum reply_policy reply;
        bool answers, wants;
    } cases[] = {
        {REPLY_AUTO, true, true}, {REPLY_AUTO, false, false}, {REPLY_YES, false, true},
        {REPLY_YES, true, true},  {REPLY_NO, true, false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin_open(&p);
        p.limits.reply = cases[i].reply;
        p.limits.answers = cases[i].answers;
        hears(&p, "00000000", 4);
        assert_int_equal(p.delivered_count, 1);
        assert_int_equal(p.delivered[0].wants_reply, cases[i].wants);
        proto_peer_fini(&p);
    }
}

static void
a_refusal_that_nobody_waits_for_changes_nothing(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.limits.reply = REPLY_NO;
    p.verdict = (struct verdict){.outcome = PROTO_REFUSED, .code = "refused", .text = "no"};
    hears_and_says(&p, "00000000 00000000", "ff ff");
    assert_false(p.closed);
    assert_int_equal(p.tally.rej, 2);
    assert_int_equal(p.tally.err, 0);
    assert_int_equal(p.tally.messages, 0);
    proto_peer_fini(&p);
}

static void
where_a_reply_cannot_come_the_connection_ends_in_its_place(void **state)
{
    static const struct {
        struct verdict verdict;
        unsigned rej, messages;
    } cases[] = {
        {{.outcome = PROTO_REFUSED, .code = "refused", .text = "no"}, 1, 1},
        {{.outcome = PROTO_FAILED, .text = "broken"}, 0, 1},
        {{.outcome = PROTO_COMMITTED, .reply = "", .reply_len = (size_t)TINYPROTO_SEND_MAX + 1},
         0,
         2},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin_held(&p, 3);
        proto_peer_settle(&p, 1, &cases[i].verdict);
        says(&p, "");
        assert_false(p.closed);
        settle(&p, 0, "A");
        says(&p, "00000001");
        hears_and_says(&p, "ff", "41 00");
        assert_true(p.closed);
        assert_int_equal(p.tally.err, 1);
        assert_int_equal(p.tally.rej, cases[i].rej);
        assert_int_equal(p.tally.messages, cases[i].messages);
        settle(&p, 2, "C");
        says(&p, "");
        proto_peer_fini(&p);
    }
}

static void
a_message_the_handler_could_not_take_ends_the_connection_also_without_replies(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.limits.reply = REPLY_NO;
    p.verdict = (struct verdict){.outcome = PROTO_FAILED, .text = "broken"};
    hears(&p, "00000000 00000000", PEER_WHOLE);
    proto_peer_expect_said(&p, "\xff\0", 2);
    assert_true(p.closed);
    assert_int_equal(p.delivered_count, 1);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

/* --- time --- */

static void
a_message_that_stops_ends_the_connection(void **state)
{
    static const char *const parts[] = {"00", "000000", "00000005", "00000005 61"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++) {
        struct proto_peer p;

        begin_open(&p);
        hears_and_says(&p, parts[i], i < 2 ? "" : "ff");
        proto_peer_wait(&p, p.limits.timeout_us - 1);
        assert_false(p.closed);
        proto_peer_wait(&p, 1);
        expect_fault(&p);
        assert_int_equal(p.delivered_count, 0);
        proto_peer_fini(&p);
    }
}

static void
a_message_that_creeps_ends_the_connection(void **state)
{
    struct proto_peer p;
    unsigned bytes = 0;

    (void)state;
    begin_open(&p);
    hears_and_says(&p, "00010000", "ff");
    for (; !p.closed && bytes < 1000; bytes++) {
        proto_peer_wait(&p, p.limits.timeout_us / 2);
        proto_peer_hear(&p, "a", 1, 1, false);
    }
    expect_fault(&p);
    assert_true(bytes > p.limits.rate_grace_us / (p.limits.timeout_us / 2) - 1);
    proto_peer_fini(&p);
}

static void
without_a_minimal_rate_a_message_may_creep(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.limits.min_rate = 0;
    hears_and_says(&p, "000003e8", "ff");
    for (unsigned i = 0; i < 1000; i++) {
        proto_peer_wait(&p, p.limits.timeout_us - 1);
        proto_peer_hear(&p, "a", 1, 1, false);
    }
    assert_false(p.closed);
    assert_int_equal(p.delivered_count, 1);
    proto_peer_fini(&p);
}

static void
a_size_without_an_answer_ends_the_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    proto_peer_push(&p, "hi", 2);
    says(&p, "00000002");
    assert_int_equal(proto_peer_patience(&p), p.limits.timeout_us);
    proto_peer_wait(&p, p.limits.timeout_us - 1);
    hears_and_says(&p, "00000000", "ff"); /* it has something to say first */
    proto_peer_wait(&p, p.limits.timeout_us - 1);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
a_client_that_was_crossed_waits_no_longer_than_ever(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    hears_and_says(&p, "ff", "ff");
    proto_peer_push(&p, "hi", 2);
    hears_and_says(&p, "00000005", "00000002");
    proto_peer_wait(&p, p.limits.timeout_us);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
the_pace_of_a_message_counts_from_the_leave_to_send_it(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    p.limits.timeout_us = 20000000;
    hears_and_says(&p, "ff", "ff");
    proto_peer_push(&p, "hi", 2);
    hears_and_says(&p, "00000005", "00000002");
    proto_peer_wait(&p, p.limits.rate_grace_us * 3 / 2);
    hears_and_says(&p, "ff", "6869 ff");
    proto_peer_wait(&p, p.limits.rate_grace_us / 2);
    assert_false(p.closed);
    proto_peer_fini(&p);
}

static void
an_opening_without_an_answer_ends_the_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    says(&p, "ff");
    proto_peer_push(&p, "hi", 2);
    proto_peer_wait(&p, p.limits.timeout_us - 1);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
an_idle_connection_is_closed_without_a_word(void **state)
{
    (void)state;
    for (int opened = 0; opened < 2; opened++) {
        struct proto_peer p;

        begin(&p, PROTO_SERVER);
        if (opened != 0)
            hears_and_says(&p, "ff", "ff");
        proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
        assert_false(p.closed);
        proto_peer_wait(&p, 1);
        assert_true(p.closed);
        says(&p, "");
        assert_int_equal(p.tally.err, 0);
        proto_peer_fini(&p);
    }
}

static void
who_takes_what_is_pushed_is_not_idle(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    proto_peer_push(&p, "hi", 2);
    hears_and_says(&p, "ff", "00000002 6869");
    assert_int_equal(proto_peer_patience(&p), p.limits.idle_timeout_us);
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
after_the_end_nothing_is_said(void **state)
{
    struct proto_io io = {0};
    struct message *m = NULL;
    struct tinyproto tp = {.state = TINYPROTO_CLOSED};
    struct outbox ob;
    size_t used = 0;

    (void)state;
    outbox_init(&ob);
    outbox_push(&ob, "hi", 2);
    io.outbox = &ob;
    assert_int_equal(tinyproto_protocol.feed(&tp, &io, (const uint8_t *)"\xff\0\0", 3, &used, &m),
                     PROTO_CLOSE);
    assert_int_equal(used, 3);
    assert_int_equal(tinyproto_protocol.expire(&tp, &io), PROTO_CLOSE);
    outbox_fini(&ob);
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
its_state_is_no_larger_than_the_others(void **state)
{
    (void)state;
    assert_true(sizeof(struct tinyproto) <= sizeof(struct msp));
    assert_ptr_equal(proto_find("tinyproto"), &tinyproto_protocol);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_conversation_goes_as_written_whole_and_in_pieces),
        cmocka_unit_test(messages_are_found_however_their_bytes_arrive),
        cmocka_unit_test(what_left_is_counted_for_a_client),
        cmocka_unit_test(a_server_is_opened_by_ok_alone),
        cmocka_unit_test(a_client_takes_a_refusal_without_a_word_and_nothing_else),
        cmocka_unit_test(a_signal_where_none_belongs_ends_the_connection),
        cmocka_unit_test(a_client_that_was_crossed_takes_its_ok_and_nothing_else),
        cmocka_unit_test(a_generic_error_in_place_of_ok_ends_with_the_peer),
        cmocka_unit_test(a_size_up_to_the_limit_is_taken),
        cmocka_unit_test(a_size_over_the_limit_is_not_kept_for_later),
        cmocka_unit_test(a_push_over_what_can_be_sent_is_too_long),
        cmocka_unit_test(who_sends_on_and_takes_nothing_back_is_cut_off),
        cmocka_unit_test(what_waits_may_be_empty_and_is_too_much_all_the_same),
        cmocka_unit_test(a_large_reply_does_not_make_a_crossing_a_fault),
        cmocka_unit_test(a_body_that_cannot_be_kept_ends_the_connection),
        cmocka_unit_test(replies_leave_in_the_order_of_their_messages),
        cmocka_unit_test(a_push_does_not_wait_for_a_reply),
        cmocka_unit_test(a_reply_at_once_waits_behind_those_still_to_come),
        cmocka_unit_test(where_there_is_no_reply_the_next_one_follows),
        cmocka_unit_test(nothing_goes_back_where_no_reply_is_wanted),
        cmocka_unit_test(only_handlers_that_answer_do_so_unless_told_otherwise),
        cmocka_unit_test(a_refusal_that_nobody_waits_for_changes_nothing),
        cmocka_unit_test(where_a_reply_cannot_come_the_connection_ends_in_its_place),
        cmocka_unit_test(
            a_message_the_handler_could_not_take_ends_the_connection_also_without_replies),
        cmocka_unit_test(a_message_that_stops_ends_the_connection),
        cmocka_unit_test(a_message_that_creeps_ends_the_connection),
        cmocka_unit_test(without_a_minimal_rate_a_message_may_creep),
        cmocka_unit_test(a_size_without_an_answer_ends_the_connection),
        cmocka_unit_test(a_client_that_was_crossed_waits_no_longer_than_ever),
        cmocka_unit_test(the_pace_of_a_message_counts_from_the_leave_to_send_it),
        cmocka_unit_test(an_opening_without_an_answer_ends_the_connection),
        cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
        cmocka_unit_test(who_takes_what_is_pushed_is_not_idle),
        cmocka_unit_test(a_message_cut_short_is_never_handed_on),
        cmocka_unit_test(leaving_is_said_only_inside_a_message),
        cmocka_unit_test(after_the_end_nothing_is_said),
        cmocka_unit_test(who_is_turned_away_is_told_why_in_a_byte),
        cmocka_unit_test(its_state_is_no_larger_than_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

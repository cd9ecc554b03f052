/* JSON as docs/protocol.md 1.3 wants it. */
#include "proto/message.h"

#include "common/text.h"
#include "common/thread.h"
#include "guard.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

static struct guard guard;

static int
set_up(void **state)
{
    (void)state;
    json_seed();
    guard = guard_create(1 << 16);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    guard_destroy(&guard);
    return 0;
}

static json_t *
parse(const char *text, size_t n, unsigned depth, char error[JSON_ERROR_LEN])
{
    const struct proto_limits limits = {
        .max_json_size = 16 << 20, .max_json_depth = depth, .max_json_values = 500000};

    return json_parse(n <= 1 << 16 ? guard_copy(&guard, text, n) : text, n, &limits, &(uint64_t){0},
                      error);
}

static bool
check(const char *text, size_t n, unsigned depth, char error[JSON_ERROR_LEN])
{
    json_t *value = parse(text, n, depth, error);

    json_decref(value);
    return value != NULL;
}

static void
what_rfc_8259_allows_is_taken(void **state)
{
    static const char *const good[] = {
        "0",
        "-0",
        "1.5e-7",
        "true",
        "null",
        "\"\"",
        "[]",
        "{}",
        " [ 1 , 2 ]\r\n\t",
        "{\"a\":{\"b\":[true,false,null]}}",
        "\"\\u0000\"",
        "{\"\":1}",
        "1e-400",
        "\"\\ud83d\\ude00\"",
        "\"\xf0\x9f\x98\x80\"",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890123456789012345678901234567890",
        "[1,-99999999999999999999,{\"n\":99999999999999999999}]",
        "99999999999999999999.5",
        "12345678901234567890e5",
        "[\"99999999999999999999\",99999999999999999999]",
        "[\"\\\"\",99999999999999999999,\"\\\\\"]",
    };
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(good); i++)
        if (!check(good[i], strlen(good[i]), 512, error))
            fail_msg("refused: %s: %s", good[i], error);
}

static void
what_is_no_json_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "[1",
        "[1,]",
        "{\"a\":}",
        "{a:1}",
        "'a'",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "[1] x",
        "[1][2]",
        "1 2",
        "\"a",
        "\"\\x\"",
        "\"\n\"",
        "\"\x01\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\xef\xbb\xbf[]",
        "{\"a\":1,\"a\":2}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"b\":[{\"a\":1,\"a\":2}]}",
        "1e400",
        "-1e400",
        "[1.0e999999999999999999999]",
        "[1e400,99999999999999999999]",
        "[99999999999999999999,1e400]",
        "1.5e12345678901234567890",
        "012345678901234567890",
        "--12345678901234567890",
        "-012345678901234567890",
        "12345678901234567890 1",
        "12345678901234567890-1",
        "12345678901234567890x",
        "[12345678901234567890",
        "true12345678901234567890",
        "{12345678901234567890:1}",
        "{\"\\u0000\":1,\"\\u0000\":2}",
        "{\"\\u0000\":1,\"\\u0000\":99999999999999999999}",
        "{\"\\u0000\":1",
        "{\"\\u0000\":\\u0000}",
        "{\"\\u0000\":1}",
        "{\"a\\u0000b\":1}",
        "[99999999999999999999,{\"\\u0000\":0}]",
        "\"\\ud800\"",
        "\"\\u00",
        "\"\\",
    };
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(bad); i++) {
        error[0] = '\0';
        if (check(bad[i], strlen(bad[i]), 512, error))
            fail_msg("taken: %s", bad[i]);
        assert_memory_equal(error, "line ", 5);
        assert_non_null(strstr(error, " column "));
        assert_true(strlen(error) < JSON_ERROR_LEN);
    }
    assert_false(check("1\0", 2, 512, error));
    assert_string_equal(error, "line 1 column 2: a NUL byte");
    assert_false(check("[\n1]\0 garbage", 13, 512, error));
    assert_false(check("\"\0\"", 3, 512, error));
    assert_false(check("[\0]", 3, 512, error));
    assert_false(check("\0", 1, 512, error));
}

static void
every_beginning_of_a_document_is_refused(void **state)
{
    const char *text =
        "{\"a\":[\"\\u0000\",1.5e3,\"\\ud83d\\ude00\",99999999999999999999],\"b\":\"\xc3\xa4\"}";
    size_t n = strlen(text);
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t cut = 0; cut < n; cut++)
        assert_false(check(text, cut, 512, error));
    assert_true(check(text, n, 512, error));
}

static void
the_error_says_line_column_and_reason(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"[1,\n 2,\n  x]", "line 3 column 3: invalid token near 'x'"},
        {"{\"a\":1,\"a\":2}", "line 1 column 10: duplicate object key near '\"a\"'"},
        {"[1e400]", "line 1 column 6: real number overflow near '1e400'"},
        {"[99999999999999999999, x]", "line 1 column 24: invalid token"},
        {"[99999999999999999999,\n 99999999999999999999, x]", "line 2 column 24: invalid token"},
        {"{\"\\u0000\":1}",
         "line 1 column 9: NUL byte in object key not supported near '\"\\u0000\"'"},
        {"\xef\xbb\xbf[]", "line 1 column 1: the document begins with a byte order mark"},
        {"{\"\\u0061\":1,\"a\":2}", "line 1 column 15: duplicate object key near '\"a\"'"},
        {"[\"\\x\"]", "line 1 column 4: invalid escape near '\"\\x'"},
        {"", "line 1 column 1: the document is empty"},
        {"[\"a\x1b[2J\"]", "line 1 column 3: control character 0x1b near '\"a'"},
        {"\x1b[2J", "line 1 column 1: invalid token near '\x1b'"},
    };
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_false(check(cases[i].text, strlen(cases[i].text), 512, error));
        assert_string_equal(error, cases[i].error);
    }
}

/* opener depth times, a value, and the closers. */
static void
nested(struct buffer *b, unsigned depth)
{
    buffer_clear(b);
    for (unsigned i = 0; i < depth; i++)
        buffer_append_str(b, i % 2 == 0 ? "[" : "{\"k\":");
    buffer_append_str(b, "1");
    for (unsigned i = depth; i-- > 0;)
        buffer_append_str(b, i % 2 == 0 ? "]" : "}");
}

static void
nesting_is_allowed_to_the_limit_and_no_further(void **state)
{
    static const unsigned limits[] = {1, 2, 63, 64, 65, 512, JSON_DEPTH_MAX_LIMIT};
    struct buffer b;
    char error[JSON_ERROR_LEN], reason[64];

    (void)state;
    buffer_init(&b);
    for (size_t i = 0; i < MS_ARRAY_LEN(limits); i++) {
        nested(&b, limits[i]);
        assert_true(check(buffer_bytes(&b), b.len, limits[i], error));
        nested(&b, limits[i] + 1);
        assert_false(check(buffer_bytes(&b), b.len, limits[i], error));
        snprintf(reason, sizeof(reason), "more than %u levels of nesting", limits[i]);
        assert_non_null(strstr(error, reason));
    }
    nested(&b, JSON_DEPTH_MAX_LIMIT + 1);
    assert_true(check(buffer_bytes(&b), b.len, JSON_DEPTH_MAX_LIMIT + 1, error));
    buffer_fini(&b);
}

static void
brackets_in_strings_and_side_by_side_do_not_nest(void **state)
{
    char error[JSON_ERROR_LEN];

    (void)state;
    assert_true(check("[\"[[[[\\\"[[\",\"{{{{\\\\\"]", 21, 1, error));
    assert_true(check("[[],[],[],[],{},{}]", 19, 2, error));
    assert_true(check("7", 1, 0, error));
    assert_false(check("[]", 2, 0, error));
    assert_false(check("[\n\"\xc3\xa4\",[[]]]", 12, 2, error));
    assert_string_equal(error, "line 2 column 6: more than 2 levels of nesting");
}

static void
a_megabyte_of_brackets_is_refused_by_its_depth(void **state)
{
    size_t n = 1 << 20;
    char *text = malloc(n), error[JSON_ERROR_LEN];

    (void)state;
    memset(text, '[', n);
    assert_false(check(text, n, 512, error));
    assert_string_equal(error, "line 1 column 513: more than 512 levels of nesting");
    free(text);
}

/* More than the block for small documents holds, with what jansson does not take. */
static void
a_large_document_is_checked_as_well(void **state)
{
    struct buffer b;
    char error[JSON_ERROR_LEN];

    (void)state;
    buffer_init(&b);
    buffer_append_str(&b, "[");
    for (int i = 0; i < 5000; i++)
        buffer_printf(&b, "{\"key%d\":[%d,\"a longer text, to need memory\"]},\n", i, i);
    buffer_append_str(&b, "{\"n\":99999999999999999999}]");
    for (int round = 0; round < 3; round++)
        assert_true(check(buffer_bytes(&b), b.len, 512, error));
    buffer_append_str(&b, "]");
    assert_false(check(buffer_bytes(&b), b.len, 512, error));
    assert_memory_equal(error, "line 5001 ", 10);
    buffer_fini(&b);
}

/* What was parsed is what was meant: small integers stay integers, beside big ones too. */
static void
integers_keep_their_kind(void **state)
{
    static const char text[] =
        "[1,-2,9223372036854775807,9223372036854775808,"
        "-12345678901234567890,1234567890123456789,\"99999999999999999999\"]";
    char error[JSON_ERROR_LEN];
    json_t *value = parse(text, sizeof(text) - 1, 512, error);

    (void)state;
    assert_non_null(value);
    assert_int_equal(json_integer_value(json_array_get(value, 0)), 1);
    assert_int_equal(json_integer_value(json_array_get(value, 1)), -2);
    assert_true(json_is_real(json_array_get(value, 3)));
    assert_true(json_real_value(json_array_get(value, 3)) == 9223372036854775808.0);
    assert_true(json_real_value(json_array_get(value, 4)) == -12345678901234567890.0);
    assert_string_equal(json_string_value(json_array_get(value, 6)), "99999999999999999999");
    json_decref(value);
    value = parse("[1,1234567890123456789]", 23, 512, error);
    assert_true(json_is_integer(json_array_get(value, 1)));
    json_decref(value);
}

/* 308 digits are a double, 400 are not. */
static void
a_number_has_to_fit_a_double(void **state)
{
    char text[512], error[JSON_ERROR_LEN];

    (void)state;
    memset(text, '9', sizeof(text));
    assert_true(check(text, 308, 512, error));
    assert_false(check(text, 400, 512, error));
    assert_non_null(strstr(error, "real number overflow"));
}

static unsigned
values_of(const char *text)
{
    struct proto_limits limits = {.max_json_size = 1000, .max_json_depth = 100};
    char error[JSON_ERROR_LEN];

    for (limits.max_json_values = 1;; limits.max_json_values++) {
        json_t *value = json_parse(text, strlen(text), &limits, &(uint64_t){0}, error);

        if (value != NULL) {
            json_decref(value);
            return limits.max_json_values;
        }
        assert_non_null(strstr(error, "values"));
    }
}

/* Values are counted as jansson makes them; what stands in strings and keys is none. */
static void
values_are_counted_exactly(void **state)
{
    (void)state;
    assert_int_equal(values_of("1"), 1);
    assert_int_equal(values_of("[]"), 1);
    assert_int_equal(values_of("[ ]"), 1);
    assert_int_equal(values_of("[[],{},[ 1 , 2 ]]"), 6);
    assert_int_equal(values_of("{\"a\":1,\"b\":[true]}"), 4);
    assert_int_equal(values_of("\",,,[[[{{{\\\",,,\""), 1);
    assert_int_equal(values_of("[\",\",\"\\\\\",\"[\"]"), 4);
    assert_int_equal(values_of("{\"a,b[\":null}"), 2);
}

/* The bound holds for whatever is sent, JSON or not: what jansson builds of it stays small. */
static void
a_document_of_millions_of_values_is_refused_in_little_memory(void **state)
{
    static const char *const pieces[] = {"{},", "[],", "1,", "\"\",", "[", "{\"a\":", "[[[["};
    struct rusage before, after;
    char error[JSON_ERROR_LEN];
    struct buffer b;

    (void)state;
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    buffer_init(&b);
    for (size_t i = 0; i < MS_ARRAY_LEN(pieces); i++) {
        buffer_clear(&b);
        buffer_append_str(&b, "[");
        while (b.len < 4000000)
            buffer_append_str(&b, pieces[i]);
        buffer_append_str(&b, "1]");
        assert_false(check(buffer_bytes(&b), b.len, 512, error));
        assert_non_null(strstr(error, "more than"));
    }
    buffer_fini(&b);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_true(after.ru_maxrss - before.ru_maxrss < 120 << 10); /* KiB */
}

/* 500,000 values of the dearest kind are about 100 MB, and they are given back. */
static void
as_many_values_as_are_allowed_are_parsed(void **state)
{
    char error[JSON_ERROR_LEN];
    struct buffer b;
    json_t *value;

    (void)state;
    buffer_init(&b);
    buffer_append_str(&b, "[");
    for (int i = 0; i < 499998; i++)
        buffer_append_str(&b, "{},");
    buffer_append_str(&b, "{}]");
    value = parse(buffer_bytes(&b), b.len, 512, error);
    assert_int_equal(json_array_size(value), 499999);
    json_decref(value);
    buffer_unappend(&b, 1);
    buffer_append_str(&b, ",7]");
    assert_false(check(buffer_bytes(&b), b.len, 512, error));
    assert_non_null(strstr(error, "more than 500000 values"));
    buffer_fini(&b);
}

/* Of jansson's allocations: so many are made, and then none. */
static unsigned allocations_left;

static void *
few_mallocs(size_t n)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return malloc(n);
}

static void
without_memory_it_is_not_the_documents_fault(void **state)
{
    static const char text[] = "{\"name\":[\"a string that is somewhat longer than the others\",12,"
                               "1.5,{\"a\":\"b\"},18446744073709551616],\"other\":null}";
    char error[JSON_ERROR_LEN];
    json_t *value = NULL;
    unsigned n = 0;

    (void)state;
    json_set_alloc_funcs(few_mallocs, free);
    for (; value == NULL && n < 1000; n++) {
        allocations_left = n;
        value = parse(text, sizeof(text) - 1, 512, error);
        if (value == NULL && errno != ENOMEM)
            fail_msg("%u allocations: %s", n, error);
    }
    json_decref(value);
    assert_in_range(n, 10, 999);
    allocations_left = 1000;
    assert_false(check(text, sizeof(text) - 2, 512, error));
    assert_int_equal(errno, EINVAL);
    json_set_alloc_funcs(malloc, free);
}

#define PROBE (64u << 20) /* that much is only asked for, to see whether there is memory */

static uint64_t bytes_now, bytes_most;

/* As malloc counts them, with its own word for each. */
static void *
counted_malloc(size_t n)
{
    void *p = malloc(n);

    bytes_now += malloc_usable_size(p) + sizeof(size_t);
    if (n < PROBE)
        bytes_most = bytes_now > bytes_most ? bytes_now : bytes_most;
    return p;
}

static void
counted_free(void *p)
{
    bytes_now -= p != NULL ? malloc_usable_size(p) + sizeof(size_t) : 0;
    free(p);
}

/* before, then the same again and again with a number for each #, then after. */
static struct message *
repeated(struct message_store *store, const char *before, const char *again, const char *after)
{
    struct message *m = message_create(store, 0, UINT64_MAX, 0);
    char number[16];

    message_append(m, before, strlen(before));
    for (unsigned i = 0; i < 40000; i++)
        for (const char *c = again; *c != '\0'; c++)
            if (*c == '#')
                message_append(m, number, (size_t)snprintf(number, sizeof(number), "%u", i));
            else
                message_append(m, c, 1);
    message_append(m, after, strlen(after));
    message_finish(m);
    return m;
}

static void
what_a_document_may_cost_is_known_before(void **state)
{
    static const char *const rows[][3] = {
        {"[", "1,", "1]"},
        {"[", "-1.5e-3,", "1]"},
        {"[", "[],", "1]"},
        {"[", "{},", "1]"},
        {"[", "\"\",", "1]"},
        {"[", "\"#\",", "1]"},
        {"[", "\"a text of a length that is not so small: #\",", "1]"},
        {"[", "[1,2,3,4,5,6,7,8,9],", "1]"},
        {"{", "\"#\":0,", "\"\":1}"},
        {"{", "\"#\":{},", "\"\":1}"},
        {"{", "\"#\":\"\",", "\"\":1}"},
        {"{", "\"a name of some length #\":[{\"a\":null}],", "\"\":1}"},
        {"[", "{\"a\":#,\"b\":{\"c\":\"#\"},\"d\":[true]},", "1]"},
        {"[", "12345678901234567890,", "1]"},
        {"\"", "one text without an end # \\n\\u20ac ", "\""},
    };
    const struct proto_limits limits = {
        .max_json_size = 16 << 20, .max_json_depth = 512, .max_json_values = 500000};
    struct message_store store = {
        .digester = digester_create(), .memory_max = 16 << 20, .ledger.max = 1 << 30};
    char error[JSON_ERROR_LEN];

    (void)state;
    json_set_alloc_funcs(counted_malloc, counted_free);
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct message *m = repeated(&store, rows[i][0], rows[i][1], rows[i][2]);
        uint64_t weight = 0, cost = 0;

        bytes_now = bytes_most = 0;
        assert_int_equal(json_weigh_message(m, &limits, &weight, error), JSON_GOOD);
        assert_int_equal(json_parse_message(m, &limits, true, &cost, error), JSON_GOOD);
        assert_int_equal(cost, weight);
        if (bytes_most > cost || cost > 2 * bytes_most + 4 * m->size)
            fail_msg("%s: %llu bytes, and %llu were thought", rows[i][1],
                     (unsigned long long)bytes_most, (unsigned long long)cost);
        json_account(m, cost);
        assert_true(store.ledger.used > cost);
        message_destroy(m);
        assert_int_equal(store.ledger.used, 0);
    }
    json_set_alloc_funcs(malloc, free);
    digester_destroy(store.digester);
}

static void
a_document_without_its_end_is_not_parsed(void **state)
{
    static const char *const rows[][4] = {
        {"[", "1,", "1", "the document ends within a bracket"},
        {"[\"", "x", "]", "the document ends within a bracket"},
        {"[", "1,", "1] x", "the document goes on behind its last bracket"},
        {"{\"a\":0}[", "1,", "1]", "the document goes on behind its last bracket"},
        {"[", "1,", "1] \t\r\n", NULL},
        {"[\"]\",", "[],", "1]", NULL},
        {"\"", "]", "\"", NULL},
    };
    const struct proto_limits limits = {
        .max_json_size = 16 << 20, .max_json_depth = 512, .max_json_values = 5000000};
    struct message_store store = {
        .digester = digester_create(), .memory_max = 16 << 20, .ledger.max = 1 << 30};
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct message *m = repeated(&store, rows[i][0], rows[i][1], rows[i][2]);
        bool good = json_weigh_message(m, &limits, &(uint64_t){0}, error) == JSON_GOOD;

        assert_int_equal(good, rows[i][3] == NULL);
        if (!good && strstr(error, rows[i][3]) == NULL)
            fail_msg("%s", error);
        message_destroy(m);
    }
    digester_destroy(store.digester);
}

static unsigned ways_given;

/* In the place of the C library's. */
int
sched_yield(void)
{
    ways_given++;
    return 0;
}

static int
spill(void *arg)
{
    (void)arg;
    return memfd_create("body", MFD_CLOEXEC);
}

/* Else whoever waits for the processor waits for all of it. */
static void
a_large_document_gives_way_at_each_step(void **state)
{
    const struct proto_limits limits = {
        .max_json_size = 16 << 20, .max_json_depth = 512, .max_json_values = 500000};
    struct message_store store = {.digester = digester_create(),
                                  .memory_max = 4096,
                                  .spill_open = spill,
                                  .ledger.max = 1 << 30};
    struct message *m = repeated(&store, "[", "\"thirty bytes of a text, or so\",", "1]");
    const unsigned pieces = (unsigned)(m->size / THREAD_PIECE);
    char error[JSON_ERROR_LEN];
    uint64_t cost;

    (void)state;
    assert_true(m->fd >= 0 && pieces > 10);
    ways_given = 0;
    assert_int_equal(json_weigh_message(m, &limits, &cost, error), JSON_GOOD);
    assert_true(ways_given >= 2 * pieces); /* it is read, and looked at */
    ways_given = 0;
    assert_int_equal(json_parse_message(m, &limits, false, &cost, error), JSON_GOOD);
    assert_true(ways_given >= 3 * pieces); /* and parsed */
    message_destroy(m);
    digester_destroy(store.digester);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rfc_8259_allows_is_taken),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(every_beginning_of_a_document_is_refused),
        cmocka_unit_test(the_error_says_line_column_and_reason),
        cmocka_unit_test(nesting_is_allowed_to_the_limit_and_no_further),
        cmocka_unit_test(brackets_in_strings_and_side_by_side_do_not_nest),
        cmocka_unit_test(a_megabyte_of_brackets_is_refused_by_its_depth),
        cmocka_unit_test(a_large_document_is_checked_as_well),
        cmocka_unit_test(integers_keep_their_kind),
        cmocka_unit_test(a_number_has_to_fit_a_double),
        cmocka_unit_test(values_are_counted_exactly),
        cmocka_unit_test(a_document_of_millions_of_values_is_refused_in_little_memory),
        cmocka_unit_test(as_many_values_as_are_allowed_are_parsed),
        cmocka_unit_test(what_a_document_may_cost_is_known_before),
        cmocka_unit_test(a_document_without_its_end_is_not_parsed),
        cmocka_unit_test(a_large_document_gives_way_at_each_step),
        cmocka_unit_test(without_memory_it_is_not_the_documents_fault),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

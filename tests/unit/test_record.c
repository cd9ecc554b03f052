#include "handler_fixture.h"

#include "handler/journal/journal.h"

#include <zlib.h>

static const char test_id[ULID_LEN + 1] = "01ARYZ6S410000000000000000";

/* The line of a message, made and parsed again; its text in *text_out where that is not NULL. */
static json_t *
line_of(enum message_kind kind, const void *value, size_t value_len, const void *body, size_t n,
        char **text_out)
{
    struct message_store store = {.digester = NULL};
    struct message m = {.store = &store, .kind = kind, .size = n, .fd = -1};
    struct message_origin origin = {
        .listener = "msp://127.0.0.1:8000", .proto = "msp", .peer = "unix:/tmp/\"a\xff"};
    struct record_clock clock = {0};
    struct buffer out;
    json_error_t error;
    json_t *json;

    buffer_init(&out);
    message_set_value(&m, value, value_len);
    memset(m.sha256, 0xab, sizeof(m.sha256));
    record_head(&out, test_id, UINT64_C(1469918176385001), &clock, &origin, &m);
    if (kind == MESSAGE_FILE)
        record_end_with_place(&out, 0, &(struct record_place){"file", "files/", m.value, NULL});
    else
        record_body(&out, 0, kind, body, n);
    assert_int_equal(buffer_bytes(&out)[out.len - 1], '\n');
    assert_null(memchr(buffer_bytes(&out), '\n', out.len - 1));
    assert_null(memchr(buffer_bytes(&out), '\r', out.len));
    json = json_loadb(buffer_bytes(&out), out.len, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(json);
    if (text_out != NULL)
        *text_out = strndup(buffer_bytes(&out), out.len);
    free(m.value);
    buffer_fini(&out);
    return json;
}

static void
a_line_has_its_members_in_the_order_of_the_documentation(void **state)
{
    static const char body[] = "{\"hello\":\"world\"}";
    char *text;
    json_t *line = line_of(MESSAGE_JSON, "my-id", 5, body, sizeof(body) - 1, &text);

    static const char members[] =
        "{\"id\":\"01ARYZ6S410000000000000000\",\"time\":\"2016-07-30T22:36:16.385001Z\","
        "\"listener\":\"msp://127.0.0.1:8000\",\"proto\":\"msp\","
        "\"peer\":\"unix:/tmp/\\\"a\\\\xFF\",\"kind\":\"json\",\"key\":\"my-id\",\"size\":17,"
        "\"sha256\":\"abababababababababababababababababababababababababababababababab\","
        "\"json\":{\"hello\":\"world\"}";
    char expected[sizeof(members) + 32];

    snprintf(expected, sizeof(expected), "%s,\"crc32\":\"%08x\"}\n", members,
             (unsigned)crc32(0, (const Bytef *)members, sizeof(members) - 1));
    (void)state;
    assert_string_equal(text, expected);
    json_decref(line);
    free(text);
}

static void
a_document_stands_as_sent_but_for_its_newlines(void **state)
{
    static const char body[] = "\r\n{ \"a\":\t[1,\n\r\n 2.50 ],\n\"\xc3\xa4\\n\":1e2}\n";
    char *text;
    json_t *line = line_of(MESSAGE_JSON, "", 0, body, sizeof(body) - 1, &text);

    (void)state;
    assert_non_null(
        strstr(text, ",\"json\":  { \"a\":\t[1,    2.50 ], \"\xc3\xa4\\n\":1e2} ,\"crc32\":"));
    assert_null(json_object_get(line, "key"));
    json_decref(line);
    free(text);
}

static void
text_is_a_string_and_other_bytes_are_base64(void **state)
{
    static const struct {
        const char *body;
        size_t n;
        const char *key, *value;
    } cases[] = {
        {"", 0, "text", ""},
        {"plain", 5, "text", "plain"},
        {"a\"b\\c\n\x01\x7f", 8, "text", "a\"b\\c\n\x01\x7f"},
        {"\xe2\x82\xac", 3, "text", "\xe2\x82\xac"},
        {"a\0b", 3, "base64", "YQBi"},
        {"\xff\xfe", 2, "base64", "//4="},
        {"\xed\xa0\x80", 3, "base64", "7aCA"}, /* a surrogate */
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        json_t *line = line_of(MESSAGE_PLAIN, "", 0, cases[i].body, cases[i].n, NULL);

        assert_string_equal(fixture_member(line, "kind"), "plain");
        assert_string_equal(fixture_member(line, cases[i].key), cases[i].value);
        assert_int_equal(json_integer_value(json_object_get(line, "size")), cases[i].n);
        json_decref(line);
    }
}

/* What some readers take for the end of a line. */
static const char *const line_ends[] = {
    "\v", "\f", "\x1c", "\x1d", "\x1e", "\x7f", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9",
};

static void
no_string_of_a_line_holds_what_some_readers_end_a_line_at(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(line_ends); i++) {
        char *plain, *file;
        json_t *lines[2];

        lines[0] = line_of(MESSAGE_PLAIN, line_ends[i], strlen(line_ends[i]), line_ends[i],
                           strlen(line_ends[i]), &plain);
        assert_string_equal(fixture_member(lines[0], "text"), line_ends[i]);
        assert_string_equal(fixture_member(lines[0], "key"), line_ends[i]);
        lines[1] = line_of(MESSAGE_FILE, line_ends[i], strlen(line_ends[i]), NULL, 1, &file);
        assert_string_equal(fixture_member(lines[1], "file") + strlen("files/"), line_ends[i]);
        assert_null(strstr(plain, line_ends[i]));
        assert_null(strstr(file, line_ends[i]));
        assert_true(record_is_whole(plain, strlen(plain) - 1));
        json_decref(lines[0]);
        json_decref(lines[1]);
        free(plain);
        free(file);
    }
}

/* Such as were written before these characters were escaped. */
static void
a_line_with_such_characters_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(line_ends); i++) {
        char line[200];
        int n =
            snprintf(line, sizeof(line), "{\"id\":\"%s\",\"text\":\"%s\"", test_id, line_ends[i]);

        n += snprintf(line + n, sizeof(line) - (size_t)n, ",\"crc32\":\"%08x\"}",
                      (unsigned)crc32(0, (const Bytef *)line, (unsigned)n));
        assert_true(record_is_whole(line, (size_t)n));
        assert_int_equal(record_first(line, (size_t)n), n);
    }
}

static void
every_byte_survives_in_a_line(void **state)
{
    char body[4] = "a?z";

    (void)state;
    for (unsigned c = 1; c < 0x80; c++) {
        json_t *line;

        body[1] = (char)c;
        line = line_of(MESSAGE_PLAIN, "", 0, body, 3, NULL);
        assert_string_equal(fixture_member(line, "text"), body);
        json_decref(line);
    }
}

static void
an_id_of_any_bytes_is_a_key(void **state)
{
    json_t *line = line_of(MESSAGE_PLAIN, "\"k\n", 3, "x", 1, NULL);

    (void)state;
    assert_string_equal(fixture_member(line, "key"), "\"k\n");
    json_decref(line);
    line = line_of(MESSAGE_PLAIN, "\xff\x00", 2, "x", 1, NULL);
    assert_string_equal(fixture_member(line, "key_base64"), "/wA=");
    assert_null(json_object_get(line, "key"));
    json_decref(line);
}

static void
a_file_is_named_and_its_path_is_no_key(void **state)
{
    json_t *line = line_of(MESSAGE_FILE, "dir/a \"b\"", 9, NULL, 70000, NULL);

    (void)state;
    assert_string_equal(fixture_member(line, "kind"), "file");
    assert_string_equal(fixture_member(line, "file"), "files/dir/a \"b\"");
    assert_null(json_object_get(line, "key"));
    json_decref(line);
}

static void
times_are_right_when_the_second_is_kept_and_when_it_changes(void **state)
{
    static const uint64_t times[] = {0, 999999, 1000000, 1000001, 59999999, 60000000, 1};
    struct message m = {.kind = MESSAGE_PLAIN, .fd = -1};
    struct message_origin origin = {.listener = "l", .proto = "p", .peer = "q"};
    struct record_clock clock = {0};
    struct buffer out;

    (void)state;
    buffer_init(&out);
    for (size_t i = 0; i < MS_ARRAY_LEN(times); i++) {
        char expected[CLOCK_RFC3339_LEN];

        clock_format(times[i], expected);
        buffer_clear(&out);
        record_head(&out, test_id, times[i], &clock, &origin, &m);
        assert_non_null(strstr(buffer_cstr(&out), expected));
    }
    buffer_fini(&out);
}

static void
a_receipt_says_what_is_known_of_the_message(void **state)
{
    struct message m = {.size = UINT64_MAX};
    struct buffer out;

    (void)state;
    buffer_init(&out);
    record_receipt(&out, test_id, &m, NULL, false);
    assert_string_equal(
        buffer_cstr(&out),
        "{\"id\":\"01ARYZ6S410000000000000000\",\"size\":18446744073709551615,\"sha256\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\"}");
    buffer_clear(&out);
    m.size = 0;
    record_receipt(&out, test_id, &m, &(struct record_place){"file", "files/", "a.1", NULL}, true);
    assert_non_null(strstr(buffer_cstr(&out), ",\"file\":\"files/a.1\",\"duplicate\":true}"));
    buffer_fini(&out);
}

static void
an_identity_is_in_the_record_where_there_is_one(void **state)
{
    struct message m = {
        .kind = MESSAGE_PLAIN, .fd = -1, .value = (char[]){"order"}, .value_len = 5};
    struct message_origin origin = {.listener = "l", .proto = "p", .peer = "q"};
    struct record_clock clock = {0};
    struct record_parts parts;
    struct buffer out;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        origin.identity = i == 0 ? NULL : "cert:a\nb";
        buffer_init(&out);
        record_head(&out, test_id, 1, &clock, &origin, &m);
        record_body(&out, 0, MESSAGE_PLAIN, "", 0);
        assert_true((strstr(buffer_cstr(&out), "\"identity\"") != NULL) == (i == 1));
        out.data[out.len - 1] = '\0';
        assert_true(record_take_apart(out.data, out.len - 1, &parts));
        assert_string_equal(parts.identity, i == 0 ? "" : "cert:a\nb");
        assert_string_equal(parts.key, "order");
        assert_string_equal(parts.file, "");
        assert_string_equal(parts.path, "");
        buffer_fini(&out);
    }
}

/* A line without its newline, taken apart; *text_out holds the parts. */
static struct record_parts
parts_of(enum message_kind kind, const void *value, size_t value_len, const void *body, size_t n,
         char **text_out)
{
    struct record_parts parts;

    json_decref(line_of(kind, value, value_len, body, n, text_out));
    (*text_out)[strlen(*text_out) - 1] = '\0';
    assert_true(record_take_apart(*text_out, strlen(*text_out), &parts));
    return parts;
}

static void
a_record_is_taken_apart_into_what_it_was_made_of(void **state)
{
    static const char escaped[] =
        "\"\\/\b\f\n\r\t\x01\x7f\xc2\x85\xe2\x80\xa8\xf0\x9f\x98\x80,\"crc32\":\"";
    static const char document[] = "{\"text\":\"a\",\"b\":[1]}";
    struct record_parts parts;
    char bytes[256], *text;

    (void)state;
    for (size_t n = 0; n < sizeof(escaped); n++) {
        if (!text_is_utf8(escaped, n))
            continue;
        parts = parts_of(MESSAGE_PLAIN, escaped, n, escaped, n, &text);
        assert_int_equal(parts.key_len, n);
        assert_memory_equal(parts.key, escaped, n);
        assert_int_equal(parts.body_len, n);
        assert_memory_equal(parts.body, escaped, n);
        assert_string_equal(parts.peer, "unix:/tmp/\"a\\xFF");
        assert_int_equal(parts.size, n);
        free(text);
    }
    for (size_t n = 1; n < sizeof(bytes); n++) {
        bytes[n - 1] = (char)(255 - n);
        parts = parts_of(MESSAGE_PLAIN, bytes, n, bytes, n, &text);
        assert_int_equal(parts.key_len, n);
        assert_memory_equal(parts.key, bytes, n);
        assert_memory_equal(parts.body, bytes, n);
        assert_int_equal(parts.body_len, n);
        free(text);
    }
    parts = parts_of(MESSAGE_JSON, "", 0, document, sizeof(document) - 1, &text);
    assert_true(parts.is_json);
    assert_int_equal(parts.body_len, sizeof(document) - 1);
    assert_memory_equal(parts.body, document, sizeof(document) - 1);
    free(text);
    parts = parts_of(MESSAGE_FILE, "a/b", 3, NULL, 9, &text);
    assert_string_equal(parts.file, "files/a/b");
    assert_null(parts.body);
    assert_int_equal(parts.size, 9);
    free(text);
}

/* Each byte of a line that is another one: it is taken apart or not, and nothing else is read. */
static void
a_damaged_record_is_taken_apart_within_its_bytes(void **state)
{
    static const char damage[] = "\"\\{},:u0";
    struct record_parts parts;
    char *text;
    size_t n;

    (void)state;
    json_decref(line_of(MESSAGE_PLAIN, "\xff", 1, "\"\x01\"", 3, &text));
    n = strlen(text) - 1;
    for (size_t i = 0; i < n; i++)
        for (const char *with = damage; *with != '\0'; with++) {
            char *copy = strndup(text, n);

            copy[i] = *with;
            (void)record_take_apart(copy, n, &parts);
            free(copy);
        }
    for (size_t cut = 0; cut < n; cut++) {
        char *copy = strndup(text, cut);

        (void)record_take_apart(copy, cut, &parts);
        free(copy);
    }
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_its_members_in_the_order_of_the_documentation),
        cmocka_unit_test(a_document_stands_as_sent_but_for_its_newlines),
        cmocka_unit_test(text_is_a_string_and_other_bytes_are_base64),
        cmocka_unit_test(no_string_of_a_line_holds_what_some_readers_end_a_line_at),
        cmocka_unit_test(a_line_with_such_characters_is_whole),
        cmocka_unit_test(every_byte_survives_in_a_line),
        cmocka_unit_test(an_id_of_any_bytes_is_a_key),
        cmocka_unit_test(a_file_is_named_and_its_path_is_no_key),
        cmocka_unit_test(times_are_right_when_the_second_is_kept_and_when_it_changes),
        cmocka_unit_test(a_receipt_says_what_is_known_of_the_message),
        cmocka_unit_test(an_identity_is_in_the_record_where_there_is_one),
        cmocka_unit_test(a_record_is_taken_apart_into_what_it_was_made_of),
        cmocka_unit_test(a_damaged_record_is_taken_apart_within_its_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Addresses as people write them, and what becomes of wrong ones. */
#include "common/url.h"

#include "guard.h"

#include <sys/un.h>

static void
an_address_is_taken_apart(void **state)
{
    static const struct {
        const char *text, *scheme, *host, *path;
        uint16_t port;
        bool has_port;
    } cases[] = {
        {"msp://127.0.0.1:8000", "msp", "127.0.0.1", NULL, 8000, true},
        {"msp://127.0.0.1", "msp", "127.0.0.1", NULL, 0, false},
        {"msp://127.0.0.1:0", "msp", "127.0.0.1", NULL, 0, true},
        {"msp://127.0.0.1:65535/", "msp", "127.0.0.1", NULL, 65535, true},
        {"auto://localhost:8000", "auto", "localhost", NULL, 8000, true},
        {"frame://my-host_1.example.org:1", "frame", "my-host_1.example.org", NULL, 1, true},
        {"msp://[::1]:8000", "msp", "::1", NULL, 8000, true},
        {"msp://[::]", "msp", "::", NULL, 0, false},
        {"msp://[fe80::1%25lo]:1", "msp", "fe80::1%lo", NULL, 1, true},
        {"msp:///run/x.sock", "msp", NULL, "/run/x.sock", 0, false},
        {"msp:///run/a%20b%3fc", "msp", NULL, "/run/a b?c", 0, false},
    };
    char error[URL_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct url url;

        if (url_parse(cases[i].text, &url, error) < 0)
            fail_msg("%s", error);
        assert_string_equal(url.scheme, cases[i].scheme);
        assert_int_equal(url.host == NULL, cases[i].host == NULL);
        assert_int_equal(url.path == NULL, cases[i].path == NULL);
        if (url.host != NULL)
            assert_string_equal(url.host, cases[i].host);
        if (url.path != NULL)
            assert_string_equal(url.path, cases[i].path);
        assert_int_equal(url.port, cases[i].port);
        assert_int_equal(url.has_port, cases[i].has_port);
        assert_int_equal(url.option_count, 0);
        url_fini(&url);
    }
}

static void
options_are_percent_decoded(void **state)
{
    struct url url;
    char error[URL_ERROR_LEN];

    (void)state;
    assert_int_equal(
        url_parse("frame://h:1?framing=delimiter&delimiter=%0A&empty=&a-b_1=x=y%26z", &url, error),
        0);
    assert_int_equal(url.option_count, 4);
    assert_string_equal(url_option(&url, "framing"), "delimiter");
    assert_string_equal(url_option(&url, "delimiter"), "\n");
    assert_string_equal(url_option(&url, "empty"), "");
    assert_string_equal(url_option(&url, "a-b_1"), "x=y&z");
    assert_null(url_option(&url, "frami"));
    url_fini(&url);
    assert_int_equal(url_parse("msp:///x?mode=1", &url, error), 0);
    assert_string_equal(url.path, "/x");
    assert_string_equal(url_option(&url, "mode"), "1");
    url_fini(&url);
    assert_int_equal(url_parse("msp://h:1?", &url, error), 0);
    url_fini(&url);
}

static void
a_wrong_address_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "\"\": expected PROTOCOL://ADDRESS:PORT or PROTOCOL:///PATH"},
        {"msp", "expected PROTOCOL://"},
        {"msp:/x", "\"msp:/x\": expected PROTOCOL://ADDRESS:PORT or PROTOCOL:///PATH"},
        {"msp://", "expected PROTOCOL://"},
        {"msp://?a=b", "expected PROTOCOL://"},
        {"://h:1", "expected PROTOCOL://"},
        {"MSP://h:1", "expected PROTOCOL://"},
        {"1p://h:1", "expected PROTOCOL://"},
        {"127.0.0.1:8000", "expected PROTOCOL://"},
        {"msp://:8000", "there is no address"},
        {"msp://h:", "port from 0 to 65535"},
        {"msp://h:65536", "port from 0 to 65535"},
        {"msp://h:99999999999999999999", "port from 0 to 65535"},
        {"msp://h:-1", "port from 0 to 65535"},
        {"msp://h:80x", "port from 0 to 65535"},
        {"msp://h@x:80", "no user and no password"},
        {"msp://::1:80", "in brackets"},
        {"msp://a:1:2", "in brackets"},
        {"msp://[::1", "not closed"},
        {"msp://[::g]:1", "no valid IPv6"},
        {"msp://me:secret@127.0.0.1:1", "no user and no password"},
        {"msp://me@host:1", "no user and no password"},
        {"msp://[127.0.0.1]:1", "no valid IPv6"},
        {"msp://[]:1", "no valid IPv6"},
        {"msp://[::1]8000", "a colon and a port"},
        {"msp://h:1/path", "not followed by a path"},
        {"msp://h/path", "not followed by a path"},
        {"msp://h:1 ", "blanks and control"},
        {"msp://h\n:1", "\"msp://h\\x0A:1\": blanks and control"},
        {"msp:///", "does not end with /"},
        {"msp:///run/", "does not end with /"},
        {"msp:///a%0Ab", "control characters"},
        {"msp:///a%00b", "%00 cannot stand"},
        {"msp://h:1?a=%zz", "two hexadecimal digits"},
        {"msp://h:1?a=%4", "two hexadecimal digits"},
        {"msp://h:1?a=%", "two hexadecimal digits"},
        {"msp://h:1?a", "expected option=value"},
        {"msp://h:1?=b", "expected option=value"},
        {"msp://h:1?a=1&", "expected option=value"},
        {"msp://h:1?a=1&&b=2", "expected option=value"},
        {"msp://h:1?a%62=1", "name of an option"},
        {"msp://h:1?a=1&a=2", "\"a\" stands there twice"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char error[URL_ERROR_LEN] = "";
        struct url url;

        if (url_parse(cases[i].text, &url, error) == 0)
            fail_msg("taken: %s", cases[i].text);
        if (strstr(error, cases[i].part) == NULL)
            fail_msg("%s", error);
    }
}

static void
there_are_limits_to_everything(void **state)
{
    char text[4096], error[URL_ERROR_LEN];
    struct url url;
    int n;

    (void)state;
    n = snprintf(text, sizeof(text), "msp:///%0106d", 0);
    assert_int_equal(n, 7 + 106);
    assert_int_equal(url_parse(text, &url, error), 0);
    url_fini(&url);
    snprintf(text, sizeof(text), "msp:///%0107d", 0);
    assert_int_equal(url_parse(text, &url, error), -1);
    assert_non_null(strstr(error, "..."));
    assert_non_null(strstr(error, "at most 107 bytes"));

    snprintf(text, sizeof(text), "msp://%0254d:1", 0);
    assert_int_equal(url_parse(text, &url, error), -1);

    n = snprintf(text, sizeof(text), "msp://h:1?o0=0");
    for (int i = 1; i < URL_OPTIONS_MAX; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "&o%d=%d", i, i);
    assert_int_equal(url_parse(text, &url, error), 0);
    assert_string_equal(url_option(&url, "o31"), "31");
    url_fini(&url);
    snprintf(text + n, sizeof(text) - (size_t)n, "&more=1");
    assert_int_equal(url_parse(text, &url, error), -1);
    assert_non_null(strstr(error, "more than 32 options"));
}

/* --- lists of servers --- */

static void
a_sender_may_give_a_list_of_servers(void **state)
{
    static const struct {
        const char *text;
        size_t count;
        struct {
            const char *host;
            uint16_t port;
        } at[3];
    } cases[] = {
        {"msp://a", 1, {{"a", 8000}}},
        {"msp://a:1/?pick=first", 1, {{"a", 1}}},
        {"msp://a:1,b:2", 2, {{"a", 1}, {"b", 2}}},
        {"cnp://a,b:2,c/", 3, {{"a", 8000}, {"b", 2}, {"c", 8000}}},
        {"frame://[::1]:1,127.0.0.1:1,[fe80::1%25lo]?framing=eof",
         3,
         {{"::1", 1}, {"127.0.0.1", 1}, {"fe80::1%lo", 8000}}},
        {"msp://a:1,a:2,a", 3, {{"a", 1}, {"a", 2}, {"a", 8000}}},
    };
    char error[URL_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct url url;

        if (url_parse_servers(cases[i].text, 8000, &url, error) < 0)
            fail_msg("%s", error);
        assert_int_equal(1 + url.more_count, cases[i].count);
        for (size_t k = 0; k < cases[i].count; k++) {
            struct url_server at = url_server_at(&url, k);

            assert_string_equal(at.host, cases[i].at[k].host);
            assert_int_equal(at.port, cases[i].at[k].port);
        }
        url_fini(&url);
    }
}

static void
senders_may_ask_for_tls(void **state)
{
    static const char *const wrong[] = {"+tls://a",     "msp+ssl://a", "msp+tls+tls://a",
                                        "msp+tlsx://a", "msp+tls:a",   "msp+tls://"};
    char error[URL_ERROR_LEN];
    struct url url;

    (void)state;
    assert_int_equal(url_parse_servers("msp+tls://a,b:1", 8000, &url, error), 0);
    assert_string_equal(url.scheme, "msp");
    assert_true(url.is_tls);
    url_fini(&url);
    assert_int_equal(url_parse_servers("msp://a", 8000, &url, error), 0);
    assert_false(url.is_tls);
    url_fini(&url);
    assert_int_equal(url_parse_servers("auto+tls://a", 8000, &url, error), 0);
    assert_string_equal(url.scheme, "msp");
    assert_true(url.is_tls);
    url_fini(&url);
    for (size_t i = 0; i < MS_ARRAY_LEN(wrong); i++)
        if (url_parse_servers(wrong[i], 8000, &url, error) == 0)
            fail_msg("%s was taken", wrong[i]);
    assert_int_equal(url_parse("msp+tls://a:1", &url, error), -1); /* a listener says ?tls= */
}

static void
a_wrong_list_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"msp://a:1,msp://b:2", "the protocol of a list stands before its first server only"},
        {"msp://a:1,,b:2", "a server is missing before or behind a comma"},
        {"msp://,b:2", "a server is missing"},
        {"msp://a:1,", "a server is missing"},
        {"msp://,", "a server is missing"},
        {"msp://a:1,?pick=first", "a server is missing"},
        {"msp://a:1,/", "a Unix socket is never in a list"},
        {"msp://a:1,/run/x.sock", "a Unix socket is never in a list"},
        {"msp:///run/x.sock,a:1", "a Unix socket is never in a list of servers; a comma in its"
                                  " path is %2C"},
        {"msp://a:1/,b:2", "not followed by a path"},
        {"msp://a:1/p,b:2", "not followed by a path"},
        {"msp://a:1,b:2/p", "not followed by a path"},
        {"msp://me@a:1,b:2", "no user and no password"},
        {"msp://a:1,me:secret@b:2", "no user and no password"},
        {"msp://a:1,::1:2", "in brackets"},
        {"msp://a:1,[::1:2", "not closed"},
        {"msp://a:1,[::g]:2", "no valid IPv6"},
        {"msp://a:1,b:", "port from 0 to 65535"},
        {"msp://a:1,b:65536", "port from 0 to 65535"},
        {"msp://a:1,b:0", "port 0 cannot be connected to"},
        {"msp://a:0", "port 0 cannot be connected to"},
        {"msp://a:1,b:2:3", "in brackets"},
        {"msp://a:1, b:2", "blanks and control"},
        {"msp://a:1;b", "port from 0 to 65535"},
        {"msp://a:1,b:2,a:1", "port 1 of \"a\" stands there twice"},
        {"msp://a,B,a:8000", "port 8000 of \"a\" stands there twice"},
        {"msp://A:1,a:1", "stands there twice"},
        {"msp://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "more than 16 servers"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char error[URL_ERROR_LEN] = "";
        struct url url;

        if (url_parse_servers(cases[i].text, 8000, &url, error) == 0)
            fail_msg("taken: %s", cases[i].text);
        if (strstr(error, cases[i].part) == NULL)
            fail_msg("%s", error);
    }
}

static void
a_listener_has_one_address(void **state)
{
    char error[URL_ERROR_LEN] = "";
    struct url url;

    (void)state;
    assert_int_equal(url_parse("msp://a:1,b:2?handler=echo", &url, error), -1);
    assert_non_null(strstr(error, "one address is wanted here; a list of servers is for senders"));
    assert_int_equal(url_parse("msp:///run/a,b.sock", &url, error), 0);
    assert_string_equal(url.path, "/run/a,b.sock");
    url_fini(&url);
    assert_int_equal(url_parse_servers("msp:///run/a%2Cb.sock", 8000, &url, error), 0);
    assert_string_equal(url.path, "/run/a,b.sock");
    url_fini(&url);
    assert_int_equal(
        url_parse_servers("msp://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", 8000, &url, error), 0);
    assert_int_equal(url.more_count, 15);
    url_fini(&url);
}

static void
endpoints_are_resolved_and_written_back(void **state)
{
    static const char *const cases[][2] = {
        {"msp://127.0.0.1:8000", "127.0.0.1:8000"},
        {"msp://0.0.0.0", "0.0.0.0:0"},
        {"msp://[::1]:8000", "[::1]:8000"},
        {"msp://[2001:db8:0:0::1]:1", "[2001:db8::1]:1"},
        {"msp:///run/x.sock", "unix:/run/x.sock"},
    };
    char error[URL_ERROR_LEN], text[ENDPOINT_TEXT_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct url url;
        struct endpoint ep;

        assert_int_equal(url_parse(cases[i][0], &url, error), 0);
        assert_int_equal(endpoint_resolve(&url, &ep, error), 0);
        endpoint_format(&ep, text);
        assert_string_equal(text, cases[i][1]);
        url_fini(&url);
    }
}

static void
names_are_resolved_and_unknown_ones_said(void **state)
{
    char error[URL_ERROR_LEN];
    struct endpoint ep;
    struct url url;

    (void)state;
    assert_int_equal(url_parse("msp://localhost:7", &url, error), 0);
    assert_int_equal(endpoint_resolve(&url, &ep, error), 0);
    assert_true(ep.addr.ss_family == AF_INET || ep.addr.ss_family == AF_INET6);
    url_fini(&url);
    assert_int_equal(url_parse("msp://name..invalid:7", &url, error), 0);
    assert_int_equal(endpoint_resolve(&url, &ep, error), -1);
    assert_non_null(strstr(error, "cannot find the address of \"name..invalid\": "));
    url_fini(&url);
}

static void
unix_peers_are_written_safely(void **state)
{
    struct endpoint ep = {.len = sizeof(sa_family_t)};
    struct sockaddr_un *un = (struct sockaddr_un *)&ep.addr;
    char text[ENDPOINT_TEXT_LEN];

    (void)state;
    un->sun_family = AF_UNIX;
    endpoint_format(&ep, text);
    assert_string_equal(text, "unix:");
    memcpy(un->sun_path, "\0abc", 4);
    ep.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 4);
    endpoint_format(&ep, text);
    assert_string_equal(text, "unix:\\x00abc");
    memset(un->sun_path, '\n', sizeof(un->sun_path)); /* not terminated */
    ep.len = sizeof(*un);
    endpoint_format(&ep, text);
    assert_true(strlen(text) < ENDPOINT_TEXT_LEN);
    assert_memory_equal(text, "unix:\\x0A\\x0A", 13);
}

static struct endpoint
endpoint_of(const char *text)
{
    char error[URL_ERROR_LEN];
    struct endpoint ep;
    struct url url;

    assert_int_equal(url_parse(text, &url, error), 0);
    assert_int_equal(endpoint_resolve(&url, &ep, error), 0);
    url_fini(&url);
    return ep;
}

static void
an_address_covers_itself_and_all_addresses_cover_their_family(void **state)
{
    static const struct {
        const char *wide, *narrow;
        bool covers;
    } rows[] = {
        {"msp://127.0.0.1:1", "msp://127.0.0.1:1", true},
        {"msp://127.0.0.1:1", "msp://127.0.0.1:2", false},
        {"msp://127.0.0.1:1", "msp://127.0.0.2:1", false},
        {"msp://0.0.0.0:1", "msp://127.0.0.1:1", true},
        {"msp://0.0.0.0:1", "msp://127.0.0.1:2", false},
        {"msp://127.0.0.1:1", "msp://0.0.0.0:1", false},
        {"msp://0.0.0.0:1", "msp://[::1]:1", false},
        {"msp://[::]:1", "msp://[::1]:1", true},
        {"msp://[::]:1", "msp://127.0.0.1:1", false},
        {"msp://[::ffff:127.0.0.1]:1", "msp://127.0.0.1:1", true}, /* it is IPv4 */
        {"msp:///a", "msp:///a", true},
        {"msp:///a", "msp:///b", false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct endpoint wide = endpoint_of(rows[i].wide), narrow = endpoint_of(rows[i].narrow);

        assert_int_equal(endpoint_covers(&wide, &narrow), rows[i].covers);
        assert_int_equal(endpoint_overlaps(&narrow, &wide),
                         rows[i].covers || endpoint_covers(&narrow, &wide));
    }
}

static void
what_another_address_stands_for_is_not_told(void **state)
{
    const struct endpoint eps[] = {endpoint_of("msp://0.0.0.0:1"), endpoint_of("msp://[::]:1"),
                                   endpoint_of("msp://127.0.0.1:1"),
                                   endpoint_of("msp://127.0.0.1:2")};

    (void)state;
    assert_false(endpoint_is_told(eps, 4, 0));
    assert_true(endpoint_is_told(eps, 4, 1));
    assert_false(endpoint_is_told(eps, 4, 2));
    assert_true(endpoint_is_told(eps, 4, 3));
    assert_true(endpoint_is_told(eps, 1, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_taken_apart),
        cmocka_unit_test(options_are_percent_decoded),
        cmocka_unit_test(a_wrong_address_is_refused_with_a_sentence),
        cmocka_unit_test(there_are_limits_to_everything),
        cmocka_unit_test(a_sender_may_give_a_list_of_servers),
        cmocka_unit_test(senders_may_ask_for_tls),
        cmocka_unit_test(a_wrong_list_is_refused_with_a_sentence),
        cmocka_unit_test(a_listener_has_one_address),
        cmocka_unit_test(endpoints_are_resolved_and_written_back),
        cmocka_unit_test(names_are_resolved_and_unknown_ones_said),
        cmocka_unit_test(unix_peers_are_written_safely),
        cmocka_unit_test(an_address_covers_itself_and_all_addresses_cover_their_family),
        cmocka_unit_test(what_another_address_stands_for_is_not_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

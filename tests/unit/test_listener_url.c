/* Listener URLs: what they may say, what wins, and the sentence for each thing that is wrong. */
#include "config/config_settings.h"

#include "common/text.h"
#include "proto/proto_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct settings settings;

static int
set_up(void **state)
{
    (void)state;
    settings_init(&settings, "/");
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    settings_fini(&settings);
    return 0;
}

static void
read_ok(const char *text, struct listener_config *l)
{
    char error[CONFIG_ERROR_LEN] = "";

    if (listener_config_read(text, "-l", &settings, l, error) < 0)
        fail_msg("%s: %s", text, error);
}

static void
a_plain_url_takes_everything_else_from_the_settings(void **state)
{
    struct listener_config l;
    char address[ENDPOINT_TEXT_LEN], error[CONFIG_ERROR_LEN];

    (void)state;
    assert_int_equal(settings_set(&settings, &config_options[OPTION_TIMEOUT], "7s", "-o", error),
                     0);
    assert_int_equal(
        settings_set(&settings, &config_options[OPTION_HANDLER], "discard", "-H", error), 0);
    read_ok("msp://127.0.0.1:8000", &l);
    endpoint_format(&l.endpoints[0], address);
    assert_string_equal(address, "127.0.0.1:8000");
    assert_string_equal(l.url, "msp://127.0.0.1:8000");
    assert_string_equal(l.name, "msp://127.0.0.1:8000");
    assert_string_equal(l.proto, "msp");
    assert_string_equal(l.handler, "discard");
    assert_int_equal(l.number[OPTION_BACKLOG], 1024);
    assert_int_equal(l.number[OPTION_MODE], 0660);
    assert_int_equal(l.limits.timeout_us, 7000000);
    assert_int_equal(l.limits.idle_timeout_us, 60000000);
    assert_int_equal(l.limits.max_message_size, 4294967295);
    assert_int_equal(l.limits.min_rate, 1024);
    assert_int_equal(l.limits.rate_grace_us, 10000000);
    assert_int_equal(l.limits.packet_size, 2048);
    assert_int_equal(l.limits.packet_size_max, 1048576);
    assert_int_equal(l.limits.nack_limit, 10);
    assert_int_equal(l.limits.reread_limit, 10);
    assert_int_equal(l.limits.max_json_depth, 512);
    assert_int_equal(l.limits.max_json_size, 16777216);
    listener_config_fini(&l);
}

static void
options_of_the_url_win(void **state)
{
    struct listener_config l;

    (void)state;
    read_ok("msp:///run/x%20y.sock?handler=echo&backlog=7&mode=0600&timeout=500ms&idle_timeout=5m"
            "&max_message_size=1G&packet_size=64&packet_size_max=16M&min_rate=0&max_json_size=1K"
            "&max_json_depth=2000",
            &l);
    assert_string_equal(l.name, "msp:///run/x%20y.sock");
    assert_string_equal(l.handler, "echo");
    assert_int_equal(l.endpoints[0].addr.ss_family, AF_UNIX);
    assert_int_equal(l.number[OPTION_BACKLOG], 7);
    assert_int_equal(l.number[OPTION_MODE], 0600);
    assert_int_equal(l.limits.timeout_us, 500000);
    assert_int_equal(l.limits.idle_timeout_us, 300000000);
    assert_int_equal(l.limits.max_message_size, 1073741824);
    assert_int_equal(l.limits.packet_size, 64);
    assert_int_equal(l.limits.packet_size_max, 16777216);
    assert_int_equal(l.limits.min_rate, 0);
    assert_int_equal(l.limits.max_json_size, 1024);
    assert_int_equal(l.limits.max_json_depth, 2000);
    listener_config_fini(&l);
}

static void
addresses_are_read_as_written(void **state)
{
    static const struct {
        const char *url, *name, *address;
    } cases[] = {
        {"msp://127.0.0.1:0?handler=echo", "msp://127.0.0.1:0", "127.0.0.1:0"},
        {"msp://[::1]:9", "msp://[::1]:9", "[::1]:9"},
        {"msp://[::]:9?timeout=3s", "msp://[::]:9", "[::]:9"},
        {"msp://0.0.0.0:65535", "msp://0.0.0.0:65535", "0.0.0.0:65535"},
        {"msp:///run/a.sock", "msp:///run/a.sock", "unix:/run/a.sock"},
    };
    char address[ENDPOINT_TEXT_LEN];
    struct listener_config l;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        read_ok(cases[i].url, &l);
        endpoint_format(&l.endpoints[0], address);
        assert_string_equal(address, cases[i].address);
        assert_string_equal(l.name, cases[i].name);
        assert_string_equal(l.url, cases[i].url);
        listener_config_fini(&l);
    }
}

static void
sockets_of_the_service_manager_have_a_name(void **state)
{
    static const struct {
        const char *url, *name, *proto, *given;
    } cases[] = {
        {"systemd:web", "systemd:web", "auto", "web"},
        {"msp+systemd:msockd.socket?timeout=3s", "msp+systemd:msockd.socket", "msp",
         "msockd.socket"},
        {"frame+systemd:a%3Fb+c?framing=eof", "frame+systemd:a%3Fb+c", "frame", "a?b+c"},
    };
    struct listener_config l;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        read_ok(cases[i].url, &l);
        assert_string_equal(l.name, cases[i].name);
        assert_string_equal(l.proto, cases[i].proto);
        assert_string_equal(l.given, cases[i].given);
        assert_int_equal(l.endpoint_count, 0);
        listener_config_fini(&l);
    }
}

static void
options_of_handlers_and_protocols_are_read(void **state)
{
    struct listener_config l;

    (void)state;
    read_ok("frame://127.0.0.1:0?framing=delimiter&delimiter=%0A&reply=no&send_queue_max=8K", &l);
    assert_int_equal(l.limits.framing.kind, FRAMING_DELIMITER);
    assert_int_equal(l.limits.framing.delimiter_len, 1);
    assert_int_equal(l.limits.framing.delimiter[0], '\n');
    assert_true(l.limits.framing.drop_cr);
    assert_int_equal(l.limits.reply, REPLY_NO);
    assert_int_equal(l.number[OPTION_SEND_QUEUE_MAX], 8192);
    assert_null(l.text[OPTION_COMMAND]);
    assert_null(l.text[OPTION_PATH]);
    assert_null(l.text[OPTION_KEY_FILE]);
    listener_config_fini(&l);

    read_ok("cnp://127.0.0.1:0?window_size=7&retries=2&keepalive=3s&key_file=a.key", &l);
    assert_int_equal(l.limits.window_size, 7);
    assert_int_equal(l.limits.retries, 2);
    assert_int_equal(l.limits.keepalive_us, 3000000);
    assert_string_equal(l.text[OPTION_KEY_FILE], "/a.key");
    listener_config_fini(&l);

    read_ok("auto://127.0.0.1:0?handler=exec&command=tr%20a%20b&exec=once&exec_timeout=1s", &l);
    assert_string_equal(l.text[OPTION_COMMAND], "tr a b");
    assert_int_equal(l.number[OPTION_EXEC], 1);
    assert_int_equal(l.number[OPTION_EXEC_CHILDREN], 4);
    assert_int_equal(l.number[OPTION_EXEC_TIMEOUT], 1000000);
    listener_config_fini(&l);

    read_ok("auto://127.0.0.1:0?handler=module&path=./m.so&args=x%3D1", &l);
    assert_string_equal(l.text[OPTION_PATH], "/m.so");
    assert_string_equal(l.text[OPTION_ARGS], "x=1");
    listener_config_fini(&l);
}

static void
assert_expected(const char *url, const char *reason, const char *const *names)
{
    char error[CONFIG_ERROR_LEN], list[CONFIG_ERROR_LEN], wanted[2 * CONFIG_ERROR_LEN];
    struct listener_config l;

    text_list(names, list, sizeof(list));
    snprintf(wanted, sizeof(wanted), "-l: \"%s\": %s, expected %s", url, reason, list);
    assert_int_equal(listener_config_read(url, "-l", &settings, &l, error), -1);
    assert_string_equal(error, wanted);
}

static bool
lists(const char *const *names, const char *name)
{
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

/* Does the option belong to a handler, or to frame:// alone? */
static bool
is_somebodys(const char *name)
{
    for (size_t i = 0; i < CONFIG_HANDLER_COUNT; i++)
        if (lists(config_handlers[i].options, name))
            return true;
    return lists(proto_find("frame")->listener_options, name);
}

static void
an_unknown_name_is_answered_with_all_the_listener_may_have(void **state)
{
    const char *options[OPTION_COUNT + 1] = {NULL};
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if ((config_options[i].scope & OPTION_IN_URL) != 0 && !is_somebodys(config_options[i].name))
            options[n++] = config_options[i].name;
    assert_expected("tcp://127.0.0.1:1", "unknown protocol \"tcp\"", proto_names);
    assert_expected("msp://127.0.0.1:1?tiemout=1s", "unknown option \"tiemout\"", options);
}

static void
no_sentence_shows_a_password(void **state)
{
    static const char *const urls[] = {
        "msp://127.0.0.1:1?handler=nats&servers=nats://u:geheim@h:1&foo=1",
        "msp://127.0.0.1:1?handler=nats&servers=nats%3A%2F%2Fu%3Ageheim%40h&foo=1",
        "msp://127.0.0.1:1?handler=nats&servers=nats://a:1,u:ge/geheim@h:1&foo=1",
        "msp://127.0.0.1:1?handler=nats&servers=u:geheim@h:1&foo=1",
        "msp://127.0.0.1?handler=nats&servers=tls://u:geheim@h:1",
        "msp://:?servers=nats://u:geheim@h",
        "msp://127.0.0.1:1?handler=nats&handler=nats&servers=nats://u:geheim@h%",
    };
    struct listener_config l;
    char error[CONFIG_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(urls); i++) {
        assert_int_equal(listener_config_read(urls[i], "-l", &settings, &l, error), -1);
        if (strstr(error, "geheim") != NULL)
            fail_msg("%s", error);
    }
}

static void
what_is_wrong_is_said_with_the_url(void **state)
{
    static const struct {
        const char *url, *error;
    } cases[] = {
        {"msp://127.0.0.1",
         "there is no port; the usual one is :8000, and with :0 the kernel chooses"},
        {"frame://127.0.0.1:1?framing=lines",
         "framing: expected length32, fixed:N, delimiter, delimiter:X or eof"},
        {"frame://127.0.0.1:1?framing=fixed:0",
         "framing: fixed:N has an N from 1 to max_message_size"},
        {"frame://127.0.0.1:1?framing=delimiter:"
         "123456789012345678901234567890123",
         "framing: a delimiter has 1 to 32 bytes"},
        {"frame://127.0.0.1:1?delimiter=%0A", "framing: delimiter is for framing=delimiter only"},
        {"frame://127.0.0.1:1?framing=delimiter&key_file=a",
         "key_file does not go with framing=delimiter: what is sealed may hold any bytes, the "
         "delimiter too"},
        {"frame://127.0.0.1:1?framing=eof&unterminated=keep",
         "framing: unterminated is for framing=delimiter only"},
        {"frame://127.0.0.1:1?framing=delimiter&unterminated=yes",
         "unterminated = \"yes\": expected drop or keep"},
        {"frame://127.0.0.1:1?mode=%00", "mode is for Unix sockets only"},
        {"frame://127.0.0.1:1?handler=%00", NULL},
        {"frame://127.0.0.1:1?timeout=1s%00", "timeout: %00 is for delimiters only"},
        {"msp://127.0.0.1:1?framing=eof", "framing is for frame:// only"},
        {"auto://127.0.0.1:1?handler=exec", "handler=exec needs command=..."},
        {"auto://127.0.0.1:1?handler=module", "handler=module needs path=..."},
        {"auto://127.0.0.1:1?handler=exec&command=cat&exec_env=A,,B",
         "exec_env: expected names of variables, such as \"A,B\""},
        {"auto://127.0.0.1:1?handler=exec&command=cat&exec_env=A,",
         "exec_env: expected names of variables, such as \"A,B\""},
        {"auto://127.0.0.1:1?handler=exec&command=cat&exec_env=A=1",
         "exec_env: expected names of variables, such as \"A,B\""},
        {"auto://127.0.0.1:1?command=cat", "command is for handler=exec only"},
        {"auto://127.0.0.1:1?handler=exec&command=cat&path=x", "path is for handler=module only"},
        {"auto://127.0.0.1:1?reply=perhaps", "reply = \"perhaps\": expected auto, yes or no"},
        {"cnp://127.0.0.1:1?window_size=0",
         "window_size = \"0\": expected a number of packets from 1 to 1024"},
        {"msp://127.0.0.1:1?workers=2", NULL},
        {"msp://127.0.0.1:1?timeout=x",
         "timeout = \"x\": expected a duration such as \"2s\", \"500ms\" or \"5m\""},
        {"msp://127.0.0.1:1?timeout=1us", "timeout = \"1us\": expected a duration from 10ms to 1d"},
        {"msp://127.0.0.1:1?backlog=0",
         "backlog = \"0\": expected a number of connections from 1 to 65535"},
        {"msp://127.0.0.1:1?mode=0600", "mode is for Unix sockets only"},
        {"msp:///x?mode=0800", "mode = \"0800\": expected octal permissions such as \"0660\""},
        {"msp:///x?mode=1777", "mode = \"1777\": expected octal permissions such as \"0660\""},
        {"msp:///x?mode=", "mode = \"\": expected octal permissions such as \"0660\""},
        {"msp:///x?max_json_depth=2001",
         "max_json_depth = \"2001\": expected a number of levels from 1 to 2000"},
        {"msp://127.0.0.1:1?packet_size=2M", "packet_size is more than packet_size_max"},
        {"msp://127.0.0.1:1?packet_size_max=1K", "packet_size is more than packet_size_max"},
        {"msp://127.0.0.1:1?packet_size=63",
         "packet_size = \"63\": expected a number of bytes from 64 to 16M, such as \"4096\", "
         "\"64K\" or \"1M\""},
        {"msp://127.0.0.1:1?packet_size_max=17M", NULL},
        {"msp://127.0.0.1:1?min_rate=-1",
         "min_rate = \"-1\": expected a number of bytes per second from 0 to 1G, such as \"4096\", "
         "\"64K\" or \"1M\""},
        {"systemd:?timeout=1s", NULL},
        {"systemd://web", NULL},
        {"msp+systemd:", NULL},
        {"msp+tls://127.0.0.1:1", NULL},
        {"tcp+systemd:web",
         "unknown protocol \"tcp\", expected auto, msp, tinyproto, cnp or frame"},
        {"systemd:web?mode=0600", "mode is for Unix sockets only"},
        {"msp://127.0.0.1:1?tls_cert=c&tls_key=k&tls_client_ca=a", "tls_cert needs tls=required"},
        {"msp://127.0.0.1:1?tls_client=required", "tls_client needs tls=required"},
        {"msp://127.0.0.1:1?allow=127.0.0.1&proxy_from=10.0.0.1",
         "proxy_from needs proxy=required"},
        {"systemd:web?v6only=yes", "v6only is for [::] only"},
        {"msp://127.0.0.1:99999", NULL},
        {"msp://127.0.0.1:1?timeout=1s&timeout=2s", NULL},
        {"127.0.0.1:8000", NULL},
        {"", NULL},
    };
    char error[CONFIG_ERROR_LEN], wanted[2 * CONFIG_ERROR_LEN];
    struct listener_config l;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_int_equal(
            listener_config_read(cases[i].url, "f.conf:3: listen", &settings, &l, error), -1);
        snprintf(wanted, sizeof(wanted), "f.conf:3: listen: \"%s\": %s", cases[i].url,
                 cases[i].error == NULL ? "" : cases[i].error);
        if (cases[i].error == NULL)
            error[strlen(wanted)] = '\0';
        assert_string_equal(error, wanted);
    }
}

static void
host_and_port_replace_those_of_the_url(void **state)
{
    static const struct {
        const char *url, *host, *port, *moved;
    } cases[] = {
        {"msp://127.0.0.1:8000", "::1", NULL, "msp://[::1]:8000"},
        {"msp://127.0.0.1:8000", "[::1]", "0", "msp://[::1]:0"},
        {"msp://[::1]:8000?timeout=3s", NULL, "9", "msp://[::1]:9?timeout=3s"},
        {"msp://127.0.0.1?a=b", NULL, "9", "msp://127.0.0.1:9?a=b"},
        {"msp://127.0.0.1", "localhost", NULL, "msp://localhost"},
    };
    char error[CONFIG_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char *moved = listener_url_move(cases[i].url, "-l", cases[i].host, cases[i].port, error);

        assert_non_null(moved);
        assert_string_equal(moved, cases[i].moved);
        free(moved);
    }
}

static void
a_host_or_port_that_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *url, *host, *port, *error;
    } cases[] = {
        {"msp:///x", "h", NULL,
         "-l: \"msp:///x\": a Unix socket has no host or port, so --host cannot change it"},
        {"msp:///x", NULL, "9",
         "-l: \"msp:///x\": a Unix socket has no host or port, so --port cannot change it"},
        {"systemd:x", NULL, "9",
         "-l: \"systemd:x\": given sockets have no host or port, so --port cannot change it"},
        {"msp://h:1", NULL, "65536", "--port 65536: expected a number from 0 to 65535"},
        {"msp://h:1", NULL, "", "--port : expected a number from 0 to 65535"},
        {"msp://h:1", "", NULL, "--host : expected a host name or an address"},
        {"msp://h:1", "a/b", NULL, "--host a/b: expected a host name or an address"},
    };
    char error[CONFIG_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_null(listener_url_move(cases[i].url, "-l", cases[i].host, cases[i].port, error));
        assert_string_equal(error, cases[i].error);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_plain_url_takes_everything_else_from_the_settings, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_of_the_url_win, set_up, tear_down),
        cmocka_unit_test_setup_teardown(addresses_are_read_as_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sockets_of_the_service_manager_have_a_name, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(options_of_handlers_and_protocols_are_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_name_is_answered_with_all_the_listener_may_have,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said_with_the_url, set_up, tear_down),
        cmocka_unit_test(no_sentence_shows_a_password),
        cmocka_unit_test(host_and_port_replace_those_of_the_url),
        cmocka_unit_test(a_host_or_port_that_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

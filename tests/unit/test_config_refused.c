/* What is refused, of files and of the command line, and in which words. */
#include "config_fixture.h"

#include "config/config_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
wrong_files_are_refused_with_line_and_reason(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"timeout = \"2 parsecs\"",
         "1: timeout = \"2 parsecs\": expected a duration such as \"2s\", \"500ms\" or \"5m\""},
        {"# a\n/* b\n*/\n\n// c\ntimeout = 1us\n",
         "6: timeout = \"1us\": expected a duration from 10ms to 1d"},
        {"workers = 65", "1: workers = \"65\": expected a number of workers from 1 to 64, or auto"},
        {"workers = 0x8",
         "1: workers = \"0x8\": expected a number of workers from 1 to 64, or auto"},
        {"listen = {\"msp://127.0.0.1:1?allow=here\"}",
         "1: listen: \"msp://127.0.0.1:1?allow=here\": allow = \"here\": expected networks and "
         "users such as \"10.0.0.0/8,::1,user:app,unix\""},
        {"\nsync = maybe", "2: sync = \"maybe\": expected \"yes\" or \"no\""},
        {"log_level = loud",
         "1: log_level = \"loud\": expected error, warn, notice, info or debug"},
        {"log_format = xml", "1: log_format = \"xml\": expected text, json, syslog or journal"},
        {"on_conflict = 1", "1: on_conflict = \"1\": expected keep, replace or number"},
        {"data_dir = ''", "1: data_dir = \"\": expected 1 to 4000 bytes of text"},
        {"packet_size = 4M",
         "1: packet_size = \"4M\": more than packet_size_max, which is 1048576"},
        {"\npacket_size_max = 1K",
         "2: packet_size_max = \"1K\": less than packet_size, which is 2048"},
        {"max_json_depth = 2001",
         "1: max_json_depth = \"2001\": expected a number of levels from 1 to 2000"},
        {"exempt = 10.0.0.0/33", "1: exempt = \"10.0.0.0/33\": expected 0 to 32 bits behind the "
                                 "slash (none exempts nobody)"},
        {"exempt = user:nosuchuser-",
         "1: exempt = \"user:nosuchuser-\": there is no such user (none exempts nobody)"},
        {"user = nosuchuser-", "1: user = \"nosuchuser-\": there is no such user"},
        {"group = nosuchgroup-", "1: group = \"nosuchgroup-\": there is no such group"},
        {"tiemout = 2s", "1: unknown option \"tiemout\"; did you mean \"timeout\"?"},
        {"max-json-size = 2",
         "1: unknown option \"max-json-size\"; did you mean \"max_json_size\"?"},
        {"Sync = no", "1: unknown option \"Sync\"; did you mean \"sync\"?"},
        {"colour = red", "1: unknown option \"colour\"; msockd.conf(5) lists them all"},
        {"\xff\x1b = 1", "1: unknown option \"\\xFF\\x1B\"; msockd.conf(5) lists them all"},
        {"backlog = 8",
         "1: \"backlog\" is an option of a listener: PROTOCOL://ADDRESS:PORT?backlog=..."},
        {"listen = {\n \"msp://127.0.0.1:1\",\n \"msp://127.0.0.1:1\"\n}",
         "3: listen: msp://127.0.0.1:1 and msp://127.0.0.1:1 both listen on 127.0.0.1:1"},
        {"listen = {\n\n \"msp://127.0.0.1:1?foo=1\" }",
         "3: listen: \"msp://127.0.0.1:1?foo=1\": unknown option \"foo\", expected handler, "
         "max_message_size, timeout, idle_timeout, min_rate, packet_size, packet_size_max, "
         "reread_limit, max_json_depth, max_json_size, max_json_values, dedup_window, tls, "
         "tls_cert, tls_key, tls_client_ca, tls_client, tls_min, proxy, proxy_from, allow, deny, "
         "prefix, "
         "backlog, "
         "mode, v6only, "
         "reply, send_queue_max, keepalive, window_size, retries or key_file"},
        {"listen = 'frame://h:1?handler=exec&foo=1'",
         "1: listen: \"frame://h:1?handler=exec&foo=1\": unknown option \"foo\", expected handler, "
         "max_message_size, timeout, idle_timeout, min_rate, packet_size, packet_size_max, "
         "reread_limit, max_json_depth, max_json_size, max_json_values, dedup_window, tls, "
         "tls_cert, tls_key, tls_client_ca, tls_client, tls_min, proxy, proxy_from, allow, deny, "
         "prefix, "
         "backlog, "
         "mode, v6only, "
         "framing, "
         "delimiter, unterminated, reply, send_queue_max, keepalive, window_size, retries, "
         "key_file, command, exec, exec_children, "
         "exec_timeout or exec_env"},
        {"listen = 'msp://127.0.0.1:1'\nlisten = 'msp://127.0.0.1:2'",
         "2: listen is set already on line 1; list all in one: listen = { ..., ... }"},
        {"tls_cert = c.pem\ntls_key = c.key\ntls_client_ca = ca.pem",
         "1: tls_cert = \"c.pem\": no listener has tls=required"},
        {"tls_client_ca = ca.pem", "1: tls_client_ca = \"ca.pem\": no listener has tls=required"},
        {"timeout = 1s\n# x\ntimeout = 1s", "3: timeout is set already on line 1"},
        {"timeout|'\n' = 1", "1: no sub-section title/index for 'timeout'"},
        {"'\x1b|\n' = 1", "2: no sub-section title/index for '\\x1B'"},
        {"timeout 3s", "1: missing equal sign after option 'timeout'"},
        {"\ntimeout = { a }", "2: unexpected token '{'"},
        {"timeout = 1s\n}", "2: unexpected closing brace"},
        {"timeout =", "1: premature end of file"},
        {"\nlisten = { a", "2: premature end of file"},
        {"timeout = 2 parsecs", "1: unknown option \"parsecs\"; msockd.conf(5) lists them all"},
        {"\n\nlog_file = \"abc\n", "3: the string that begins here has no end"},
        {"\nlog_file = 'abc\n", "2: the string that begins here has no end"},
        {"\n/* abc\n", "2: the comment that begins here has no end"},
        {"\nlog_file = a#b\n", "2: a value with # in it stands in quotes"},
        {"log_file = a+b\n", "1: a value with + in it stands in quotes"},
        {"log_file = \"a\nb\"\nfoo=1\n",
         "3: unknown option \"foo\"; msockd.conf(5) lists them all"},
    };
    const struct config_args args = {.config_file = FILE_NAME};
    char wanted[CONFIG_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        write_file(cases[i].text);
        snprintf(wanted, sizeof(wanted), FILE_NAME ":%s", cases[i].error);
        assert_refused(&args, wanted);
        /* The scanner is one for the process: nothing of a wrong file may stay in it. */
        config_destroy(build_file("# right\ntimeout = 3s\n"));
    }
}

static void
files_that_cannot_be_read_say_why(void **state)
{
    const struct config_args missing = {.config_file = "missing.conf"};
    const struct config_args dir = {.config_file = "/"};
    const struct config_args device = {.config_file = "/dev/null"};
    const struct config_args unnamed = {.config_file = ""};
    const struct config_args file = {.config_file = FILE_NAME};
    const size_t n = (1 << 20) + 2; /* a file has 1 MiB at most */
    char *large = ms_malloc(n);

    (void)state;
    assert_refused(&missing, "missing.conf: there is no such file");
    assert_refused(&dir, "/: this is a directory, not a file");
    assert_refused(&device, "/dev/null: this is not a regular file");
    assert_refused(&unnamed, "-c: expected the name of a file");
    write_file_bytes("sync = no\n\0x", 12);
    assert_refused(&file, FILE_NAME ":2: there is a NUL byte; this is not a text");
    memset(large, '\n', n);
    write_file_bytes(large, n);
    assert_refused(&file, FILE_NAME ": this is larger than 1M and cannot be a configuration");
    free(large);
}

static void
a_file_without_permission_is_refused(void **state)
{
    const struct config_args args = {.config_file = FILE_NAME};
    bool root = geteuid() == 0;
    char path[300];

    (void)state;
    write_file("sync = no\n");
    file_path(path, sizeof(path));
    assert_int_equal(chmod(path, 0), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    assert_refused(&args, FILE_NAME ": no permission to read it");
    if (root)
        assert_int_equal(seteuid(0), 0);
}

static void
an_unknown_handler_or_protocol_is_answered_with_all_there_are(void **state)
{
    char names[128], wanted[256];

    (void)state;
    text_list(config_options[OPTION_HANDLER].choices, names, sizeof(names));
    snprintf(wanted, sizeof(wanted), "-H kafka: expected %s", names);
    assert_refused(&(struct config_args){.handler = "kafka"}, wanted);

    text_list(proto_names, names, sizeof(names));
    snprintf(wanted, sizeof(wanted), "-l: \"http://h:1\": unknown protocol \"http\", expected %s",
             names);
    assert_refused(&(struct config_args){.listen_count = 1, .listen = {"http://h:1"}}, wanted);
}

static void
wrong_words_of_the_command_line_are_named(void **state)
{
    static const struct {
        struct config_args args;
        const char *error;
    } cases[] = {
        {{.workers = "0"}, "-w 0: expected a number of workers from 1 to 64, or auto"},
        {{.workers = ""}, "-w : expected a number of workers from 1 to 64, or auto"},
        {{.data_dir = ""}, "-d : expected 1 to 4000 bytes of text"},
        {{.max_size = "0"},
         "--max-size 0: expected a number of bytes from 1 to 9223372036854775807, such as "
         "\"4096\", "
         "\"64K\" or \"1M\""},
        {{.port = "x"}, "--port x: expected a number from 0 to 65535"},
        {{.host = ""}, "--host : expected a host name or an address"},
        {{.listen_count = 1, .listen = {""}}, "-l: expected 1 to 4000 bytes of text"},
        {{.set_count = 1, .set = {"timeout"}},
         "-o timeout: expected OPTION=VALUE, such as timeout=5s"},
        {{.set_count = 1, .set = {"=1"}}, "-o =1: expected OPTION=VALUE, such as timeout=5s"},
        {{.set_count = 1, .set = {"timeout="}},
         "-o timeout=: expected a duration such as \"2s\", \"500ms\" or \"5m\""},
        {{.set_count = 1, .set = {"sycn=no"}},
         "-o sycn=no: unknown option \"sycn\"; did you mean \"sync\"?"},
        {{.set_count = 1, .set = {"mode=0600"}},
         "-o mode=0600: \"mode\" is an option of a listener: PROTOCOL://ADDRESS:PORT?mode=..."},
        {{.set_count = 1, .set = {"packet_size=2M"}},
         "-o packet_size=2M: more than packet_size_max, which is 1048576"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        assert_refused(&cases[i].args, cases[i].error);
}

static void
more_than_64_listeners_are_refused(void **state)
{
    const struct config_args args = {.config_file = FILE_NAME};
    char text[4096] = "listen = {\n";
    struct config *c;

    (void)state;
    for (int i = 0; i < CONFIG_LISTENERS_MAX; i++)
        strcat(text, "\"msp://127.0.0.1:0\",\n");
    strcat(text, "}\n");
    c = build_file(text);
    assert_int_equal(c->listener_count, CONFIG_LISTENERS_MAX);
    config_destroy(c);
    strcpy(strrchr(text, '}'), "\"msp://127.0.0.1:0\" }\n");
    write_file(text);
    assert_refused(&args, FILE_NAME ":66: listen: more than 64 listeners");
}

static void
a_long_value_is_cut_in_the_sentence(void **state)
{
    const struct config_args args = {.config_file = FILE_NAME};
    char text[3000] = "timeout = \"", error[CONFIG_ERROR_LEN];
    struct config *c;

    (void)state;
    memset(text + strlen(text), '\x01', 2000);
    strcat(text, "\"\n");
    write_file(text);
    assert_int_equal(config_build(&args, directory, &c, error), -1);
    assert_non_null(strstr(error, "\\x01...\": expected a duration such as \"2s\""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wrong_files_are_refused_with_line_and_reason),
        TEST(files_that_cannot_be_read_say_why),
        TEST(a_file_without_permission_is_refused),
        TEST(an_unknown_handler_or_protocol_is_answered_with_all_there_are),
        TEST(wrong_words_of_the_command_line_are_named),
        TEST(more_than_64_listeners_are_refused),
        TEST(a_long_value_is_cut_in_the_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

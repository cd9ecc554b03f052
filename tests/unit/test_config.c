/* The whole way to a configuration: defaults, file, -o and command line, what wins, what is refused
 * and in which words; and that the sample file and the manual page agree with the table of
 * options. */
#include "config/config.h"

#include "common/fd.h"
#include "common/text.h"
#include "config/config_options.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_NAME  "msockd.conf"
#define SOURCE_MAX (1 << 20)

static char directory[256];

static int
set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof(directory), "%s/test_config.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    unsetenv("RUNTIME_DIRECTORY");
    unsetenv("XDG_RUNTIME_DIR");
    return mkdtemp(directory) == NULL || chmod(directory, 0755) < 0 ? -1 : 0;
}

static void
file_path(char *path, size_t size)
{
    snprintf(path, size, "%s/%s", directory, FILE_NAME);
}

static int
tear_down(void **state)
{
    char path[300];

    (void)state;
    file_path(path, sizeof(path));
    unlink(path);
    return rmdir(directory); /* fails where a build has created anything */
}

static void
write_file_bytes(const char *text, size_t n)
{
    char path[300];
    FILE *f;

    file_path(path, sizeof(path));
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void
write_file(const char *text)
{
    write_file_bytes(text, strlen(text));
}

static struct config *
build(const struct config_args *args)
{
    char error[CONFIG_ERROR_LEN] = "";
    struct config *config = NULL;

    if (config_build(args, directory, &config, error) < 0)
        fail_msg("refused: %s", error);
    return config;
}

static void
assert_refused(const struct config_args *args, const char *wanted)
{
    char error[CONFIG_ERROR_LEN] = "";
    struct config *config = NULL;

    if (config_build(args, directory, &config, error) == 0) {
        config_destroy(config);
        fail_msg("taken, but expected: %s", wanted);
    }
    assert_string_equal(error, wanted);
    assert_null(config);
}

static struct config *
build_file(const char *text)
{
    const struct config_args args = {.config_file = FILE_NAME};

    write_file(text);
    return build(&args);
}

static void
the_url_of_the_relay_has_the_options_of_a_stream(void **state)
{
    static const struct {
        const char *set, *refused;
    } cases[] = {
        {"relay=mqtt://a:1?stream=S",
         "-o relay=mqtt://a:1?stream=S: \"mqtt://a:1?stream=S\": expected "
         "nats://HOST:PORT,...?stream=STREAM"},
        {"relay=nats://u:secret@a:1", "-o relay=***@a:1: \"***@a:1\": the relay needs stream=..."},
        {"retain=relayed", "-o retain=relayed: there is no relay"},
    };
    struct config_args args = {
        .set_count = 1, .set = {"relay=nats://u:p@a:1,b?stream=S&nats_timeout=1s&nats_ca=ca.pem"}};
    struct config *c = build(&args), *copy;
    struct buffer bytes;

    (void)state;
    buffer_init(&bytes);
    config_pack(c, &bytes);
    copy = config_unpack(buffer_bytes(&bytes), bytes.len);
    assert_non_null(copy);
    assert_string_equal(copy->relay.text[OPTION_SERVERS], "nats://u:p@a:1,b");
    assert_string_equal(copy->relay.text[OPTION_STREAM], "S");
    assert_string_equal(copy->relay.text[OPTION_SUBJECT], "in.{listener}.{kind}");
    assert_int_equal(copy->relay.number[OPTION_NATS_TIMEOUT], 1000000);
    assert_int_equal(copy->relay.text[OPTION_NATS_CA][0], '/');
    config_destroy(copy);
    config_destroy(c);
    buffer_fini(&bytes);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        args.set[0] = cases[i].set;
        assert_refused(&args, cases[i].refused);
    }
    args.set[0] = "relay=nats://a:1?stream=S&servers=b";
    assert_int_equal(config_build(&args, directory, &c, (char[CONFIG_ERROR_LEN]){""}), -1);
}

static void
assert_in_directory(const char *path, const char *name)
{
    char wanted[512];

    snprintf(wanted, sizeof(wanted), "%s/%s", directory, name);
    assert_string_equal(path, wanted);
}

static void
assert_default_limits(const struct proto_limits *l)
{
    assert_int_equal(l->max_message_size, 4294967295);
    assert_int_equal(l->timeout_us, 2000000);
    assert_int_equal(l->idle_timeout_us, 60000000);
    assert_int_equal(l->min_rate, 1024);
    assert_int_equal(l->rate_grace_us, 10000000);
    assert_int_equal(l->packet_size, 2048);
    assert_int_equal(l->packet_size_max, 1 << 20);
    assert_int_equal(l->nack_limit, 10);
    assert_int_equal(l->reread_limit, 10);
    assert_int_equal(l->max_json_depth, 512);
    assert_int_equal(l->max_json_size, 16 << 20);
}

static void
assert_default_numbers(const struct config *c)
{
    assert_in_range(c->workers, 1, CONFIG_WORKERS_MAX);
    assert_int_equal(c->uid, geteuid());
    assert_int_equal(c->gid, getegid());
    assert_false(c->daemonize);
    assert_int_equal(c->log_level, LOG_LEVEL_NOTICE);
    assert_int_equal(c->max_connections, 16384);
    assert_int_equal(c->source_connections, 4096);
    assert_int_equal(c->exempt.count, 3);
    assert_int_equal(c->drain_timeout_us, 30000000);
    assert_int_equal(c->ready_timeout_us, 10000000);
    assert_int_equal(c->memory_message_max, 256 << 10);
    assert_int_equal(c->worker_memory_max, 64 << 20);
    assert_int_equal(c->on_conflict, ON_CONFLICT_KEEP);
    assert_int_equal(c->inline_max, 64 << 10);
    assert_int_equal(c->segment_size, 64 << 20);
    assert_int_equal(c->segment_age_us, 3600000000);
    assert_true(c->sync);
}

/* Everything but config_file. */
static void
assert_defaults(const struct config *c)
{
    const struct listener_config *l = &c->listeners[0];

    assert_default_numbers(c);
    assert_in_directory(c->data_dir, "msockd-data");
    assert_int_equal(c->runtime_dir[0], '/');
    assert_null(c->user);
    assert_null(c->group);
    assert_null(c->log_file);
    assert_int_equal(c->listener_count, 1);
    assert_string_equal(l->url, "auto://127.0.0.1:8000");
    assert_string_equal(l->name, "auto://127.0.0.1:8000");
    assert_string_equal(l->proto, "auto");
    assert_string_equal(l->handler, "journal");
    assert_int_equal(l->number[OPTION_BACKLOG], 1024);
    assert_int_equal(l->number[OPTION_MODE], 0660);
    assert_default_limits(&l->limits);
}

static void
nothing_given_means_the_defaults(void **state)
{
    const struct config_args args = {0};
    struct config *c = build(&args);

    (void)state;
    assert_defaults(c);
    assert_null(c->config_file);
    config_destroy(c);
    config_destroy(NULL);
}

static void
the_file_sets_every_option(void **state)
{
    struct config *c =
        build_file("workers = 3\nlisten = { \"msp://127.0.0.1:1\", 'msp:///x' }\n"
                   "handler = echo\ndata_dir = d\nruntime_dir = /r/\nlog_file = ./l\n"
                   "log_level = debug\ndaemon = on\nmax_connections = 5\n"
                   "exempt = none\n"
                   "max_message_size = 1K\nmemory_message_max = 2K\n"
                   "worker_memory_max = 2M\ntimeout = 3s\nidle_timeout = 4\n"
                   "min_rate = 0\nrate_grace = 1.5s\npacket_size = 64\n"
                   "packet_size_max = 16M\nnack_limit = 0\nreread_limit = 1\n"
                   "max_json_depth = 2000\nmax_json_size = 5\ndrain_timeout = 0\n"
                   "ready_timeout = 1m\non_conflict = number\ninline_max = 0\n"
                   "segment_size = 4K\nsegment_age = 1d\nsync = no\n");
    const struct proto_limits *l = &c->listeners[1].limits;

    (void)state;
    assert_int_equal(c->workers, 3);
    assert_int_equal(c->listener_count, 2);
    assert_string_equal(c->listeners[0].name, "msp://127.0.0.1:1");
    assert_string_equal(c->listeners[1].name, "msp:///x");
    assert_string_equal(c->listeners[1].handler, "echo");
    assert_in_directory(c->config_file, FILE_NAME);
    assert_in_directory(c->data_dir, "d");
    assert_string_equal(c->runtime_dir, "/r");
    assert_in_directory(c->log_file, "l");
    assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
    assert_true(c->daemonize);
    assert_int_equal(c->max_connections, 5);
    assert_int_equal(c->source_connections, 16);
    assert_int_equal(c->exempt.count, 0);
    assert_int_equal(c->memory_message_max, 2048);
    assert_int_equal(c->worker_memory_max, 2 << 20);
    assert_int_equal(c->drain_timeout_us, 0);
    assert_int_equal(c->ready_timeout_us, 60000000);
    assert_int_equal(c->on_conflict, ON_CONFLICT_NUMBER);
    assert_int_equal(c->inline_max, 0);
    assert_int_equal(c->segment_size, 4096);
    assert_int_equal(c->segment_age_us, 86400000000);
    assert_false(c->sync);
    assert_int_equal(l->max_message_size, 1024);
    assert_int_equal(l->timeout_us, 3000000);
    assert_int_equal(l->idle_timeout_us, 4000000);
    assert_int_equal(l->min_rate, 0);
    assert_int_equal(l->rate_grace_us, 1500000);
    assert_int_equal(l->packet_size, 64);
    assert_int_equal(l->packet_size_max, 16 << 20);
    assert_int_equal(l->nack_limit, 0);
    assert_int_equal(l->reread_limit, 1);
    assert_int_equal(l->max_json_depth, 2000);
    assert_int_equal(l->max_json_size, 5);
    config_destroy(c);
}

static void
comments_stand_anywhere_and_quotes_protect(void **state)
{
    struct config *c = build_file("# one\n// two\n/* three\n # four */ timeout /* 5 */ = 7s # six\n"
                                  "listen = { # seven\n  msp://127.0.0.1:1, // eight\n"
                                  "  \"msp://127.0.0.1:2?timeout=1s\",\n}\n"
                                  "log_file = \"/a#b+c//d\"\r\ndata_dir = '/e\"/*f'\n"
                                  "listen += { \"msp://127.0.0.1:3\" }\n");

    (void)state;
    assert_int_equal(c->listener_count, 3);
    assert_int_equal(c->listeners[0].limits.timeout_us, 7000000);
    assert_int_equal(c->listeners[1].limits.timeout_us, 1000000);
    assert_string_equal(c->listeners[2].name, "msp://127.0.0.1:3");
    assert_string_equal(c->log_file, "/a#b+c//d");
    assert_string_equal(c->data_dir, "/e\"/*f");
    config_destroy(c);
}

static void
variables_of_the_environment_stand_in_double_quotes(void **state)
{
    struct config *c;

    (void)state;
    setenv("TEST_CONFIG_DIR", "/from/environment", 1);
    c = build_file("data_dir = \"${TEST_CONFIG_DIR}/x\"\nlog_file = '${TEST_CONFIG_DIR}'\n");
    assert_string_equal(c->data_dir, "/from/environment/x");
    assert_in_directory(c->log_file, "${TEST_CONFIG_DIR}");
    config_destroy(c);
}

static void
later_places_win_over_earlier_ones(void **state)
{
    const struct config_args args = {
        .config_file = FILE_NAME,
        .set_count = 4,
        .set = {"timeout=4s", "workers=4", "timeout=5s", "log_level=warn"},
        .workers = "6",
        .handler = "discard",
        .data_dir = "/cmd",
        .runtime_dir = "run",
        .max_size = "9K",
        .daemonize = true,
        .verbosity = 2};
    struct config *c;

    (void)state;
    write_file("timeout = 3s\nidle_timeout = 3s\nworkers = 3\ndata_dir = /file\nhandler = echo\n"
               "max_message_size = 1\n");
    c = build(&args);
    assert_int_equal(c->workers, 6);
    assert_int_equal(c->listeners[0].limits.timeout_us, 5000000);
    assert_int_equal(c->listeners[0].limits.idle_timeout_us, 3000000);
    assert_int_equal(c->listeners[0].limits.max_message_size, 9216);
    assert_string_equal(c->listeners[0].handler, "discard");
    assert_string_equal(c->data_dir, "/cmd");
    assert_in_directory(c->runtime_dir, "run");
    assert_true(c->daemonize);
    assert_int_equal(c->log_level, LOG_LEVEL_INFO);
    config_destroy(c);
}

static void
verbosity_stays_within_the_levels(void **state)
{
    static const struct {
        int verbosity;
        enum log_level level;
    } cases[] = {{0, LOG_LEVEL_NOTICE}, {1, LOG_LEVEL_INFO},  {2, LOG_LEVEL_DEBUG},
                 {9, LOG_LEVEL_DEBUG},  {-1, LOG_LEVEL_WARN}, {-2, LOG_LEVEL_ERROR},
                 {-9, LOG_LEVEL_ERROR}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        const struct config_args args = {.verbosity = cases[i].verbosity};
        struct config *c = build(&args);

        assert_int_equal(c->log_level, cases[i].level);
        config_destroy(c);
    }
}

static void
listeners_of_the_command_line_replace_those_of_the_file(void **state)
{
    struct config_args args = {.config_file = FILE_NAME,
                               .listen_count = 1,
                               .listen = {"msp://127.0.0.1:5"},
                               .set_count = 1,
                               .set = {"listen=msp://127.0.0.1:6"}};
    struct config *c;

    (void)state;
    write_file("listen = { \"msp://127.0.0.1:1\", \"msp://127.0.0.1:2\" }\n");
    c = build(&args);
    assert_int_equal(c->listener_count, 2);
    assert_string_equal(c->listeners[0].name, "msp://127.0.0.1:5");
    assert_string_equal(c->listeners[1].name, "msp://127.0.0.1:6");
    config_destroy(c);
    args.listen_count = 0;
    c = build(&args);
    assert_int_equal(c->listener_count, 1);
    assert_string_equal(c->listeners[0].name, "msp://127.0.0.1:6");
    config_destroy(c);
}

static void
host_and_port_change_the_first_listener(void **state)
{
    const struct config_args alone = {.host = "::1", .port = "0"};
    const struct config_args listed = {
        .listen_count = 2,
        .listen = {"msp://127.0.0.1:1?timeout=9s", "msp://127.0.0.1:2"},
        .port = "3"};
    struct config *c = build(&alone);

    (void)state;
    assert_string_equal(c->listeners[0].name, "auto://[::1]:0");
    config_destroy(c);
    c = build(&listed);
    assert_string_equal(c->listeners[0].url, "msp://127.0.0.1:3?timeout=9s");
    assert_string_equal(c->listeners[1].url, "msp://127.0.0.1:2");
    config_destroy(c);
}

static void
an_address_is_listed_once_but_port_0_often(void **state)
{
    const struct config_args twice = {
        .listen_count = 2, .listen = {"msp://127.0.0.1:1", "msp://127.0.0.1:1?handler=echo"}};
    const struct config_args sockets = {.listen_count = 2, .listen = {"msp:///a:0", "msp:///a:0"}};
    const struct config_args any = {.listen_count = 2,
                                    .listen = {"msp://127.0.0.1:0", "msp://127.0.0.1:0"}};
    struct config *c;

    (void)state;
    assert_refused(&twice,
                   "-l: msp://127.0.0.1:1 and msp://127.0.0.1:1 both listen on 127.0.0.1:1");
    assert_refused(&(struct config_args){.listen_count = 2,
                                         .listen = {"systemd:web", "msp+systemd:web?timeout=3s"}},
                   "-l: systemd:web and msp+systemd:web are both for systemd:web");
    assert_refused(&sockets, "-l: msp:///a:0 and msp:///a:0 both listen on unix:/a:0");
    assert_refused(&(struct config_args){.listen_count = 2,
                                         .listen = {"msp://127.0.0.1:1", "cnp://0.0.0.0:1"}},
                   "-l: msp://127.0.0.1:1 and cnp://0.0.0.0:1 both listen on 127.0.0.1:1");
    assert_refused(
        &(struct config_args){.listen_count = 2, .listen = {"msp://[::]:1", "cnp://0.0.0.0:1"}},
        "-l: msp://[::]:1 and cnp://0.0.0.0:1 both listen on 0.0.0.0:1 (with v6only=yes "
        "[::] takes no IPv4)");
    assert_refused(&(struct config_args){.listen_count = 1, .listen = {"msp://[::1]:1?v6only=yes"}},
                   "-l: \"msp://[::1]:1?v6only=yes\": v6only is for [::] only");
    c = build(&(struct config_args){.listen_count = 2,
                                    .listen = {"msp://[::]:1?v6only=yes", "cnp://0.0.0.0:1"}});
    assert_int_equal(c->listeners[0].endpoint_count, 1);
    config_destroy(c);
    c = build(&any);
    assert_int_equal(c->listener_count, 2);
    config_destroy(c);
}

static void
a_log_file_is_for_formats_that_write_one(void **state)
{
    static const char *const formats[] = {"log_format=syslog", "log_format=journal"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(formats); i++)
        assert_refused(&(struct config_args){.set_count = 2, .set = {formats[i], "log_file=x"}},
                       "log_format=syslog and journal write no log_file: leave one of the two out");
}

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
        {"exempt = 10.0.0.0/33",
         "1: exempt = \"10.0.0.0/33\": expected 0 to 32 bits behind the slash, or none"},
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
    char *large = ms_malloc(SOURCE_MAX + 2);

    (void)state;
    assert_refused(&missing, "missing.conf: there is no such file");
    assert_refused(&dir, "/: this is a directory, not a file");
    assert_refused(&device, "/dev/null: this is not a regular file");
    assert_refused(&unnamed, "-c: expected the name of a file");
    write_file_bytes("sync = no\n\0x", 12);
    assert_refused(&file, FILE_NAME ":2: there is a NUL byte; this is not a text");
    memset(large, '\n', SOURCE_MAX + 2);
    write_file_bytes(large, SOURCE_MAX + 2);
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

static void
root_resolves_users_by_name_and_number(void **state)
{
    const struct config_args named = {.set_count = 1, .set = {"user=daemon"}};
    const struct config_args both = {.set_count = 2, .set = {"user=54321", "group=54322"}};
    const struct config_args half = {.set_count = 1, .set = {"user=54321"}};
    struct config *c;

    (void)state;
    if (geteuid() != 0)
        skip();
    c = build(&named);
    assert_string_equal(c->user, "daemon");
    assert_null(c->group);
    assert_int_not_equal(c->uid, 0);
    assert_int_not_equal(c->gid, 0);
    config_destroy(c);
    c = build(&both);
    assert_string_equal(c->user, "54321");
    assert_string_equal(c->group, "54322");
    assert_int_equal(c->uid, 54321);
    assert_int_equal(c->gid, 54322);
    config_destroy(c);
    assert_refused(&half, "-o user=54321: this number has no name, so its group must be given too");
}

static void
only_root_can_name_another_user(void **state)
{
    const struct config_args user = {.set_count = 1, .set = {"user=root"}};
    const struct config_args group = {.set_count = 1, .set = {"group=54322"}};
    struct config_args self = {.set_count = 2};
    char uid[32], gid[32];
    bool root = geteuid() == 0;
    struct config *c;

    (void)state;
    if (root)
        assert_int_equal(seteuid(65534), 0);
    assert_refused(&user, "-o user=root: only root can run workers as another user");
    assert_refused(&group, "-o group=54322: only root can run workers as another group");
    snprintf(uid, sizeof(uid), "user=%u", geteuid());
    snprintf(gid, sizeof(gid), "group=%u", getegid());
    self.set[0] = uid;
    self.set[1] = gid;
    c = build(&self);
    assert_null(c->user); /* nothing to change */
    assert_null(c->group);
    assert_int_equal(c->uid, geteuid());
    config_destroy(c);
    if (root)
        assert_int_equal(seteuid(0), 0);
}

static void
hundreds_of_builds_keep_no_memory(void **state)
{
    const struct config_args right = {.config_file = FILE_NAME,
                                      .listen_count = 1,
                                      .listen = {"msp://127.0.0.1:0"},
                                      .set_count = 1,
                                      .set = {"sync=no"},
                                      .port = "9"};
    const struct config_args wrong = {
        .config_file = FILE_NAME, .set_count = 1, .set = {"packet_size=2M"}};
    char error[CONFIG_ERROR_LEN];
    struct config *c;
    size_t before = 0;

    (void)state;
    write_file("timeout = 3s\nlog_file = \"/x\"\nlisten = { \"msp://127.0.0.1:1\", 'msp:///y' }\n");
    for (int i = 0; i < 120; i++) {
        if (i == 20)
            before = mallinfo2().uordblks;
        config_destroy(build(&right));
        assert_int_equal(config_build(&wrong, directory, &c, error), -1);
    }
    assert_in_range(mallinfo2().uordblks, 0, before + 1024);
}

/* A file of the source tree, as text; the caller frees. */
static char *
read_source(const char *name)
{
    const char *source = getenv("MSOCK_SOURCE");
    char path[512], *text;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", source == NULL ? "." : source, name);
    if (fd_read_file(path, SOURCE_MAX, &text, &n) < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return text;
}

static void
the_sample_file_shows_every_option_with_its_default(void **state)
{
    char *text = read_source("etc/msockd.conf"), wanted[128];

    (void)state;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *o = &config_options[i];
        bool quoted = o->initial[0] == '\0' || strchr(o->initial, ',') != NULL;

        if (o->scope == OPTION_IN_URL)
            snprintf(wanted, sizeof(wanted), "\n#   %s ", o->name);
        else if (o->type == OPTION_TYPE_LIST)
            snprintf(wanted, sizeof(wanted), "\n#%s = { \"%s\" }\n", o->name, o->initial);
        else
            snprintf(wanted, sizeof(wanted), "\n#%s = %s%s%s\n", o->name, quoted ? "\"" : "",
                     o->initial, quoted ? "\"" : "");
        if (strstr(text, wanted) == NULL)
            fail_msg("etc/msockd.conf lacks \"%s\"", wanted + 1);
    }
    free(text);
}

static void
the_sample_file_means_the_defaults_with_and_without_its_comments(void **state)
{
    char *text = read_source("etc/msockd.conf");
    struct config *c = build_file(text);

    (void)state;
    assert_defaults(c);
    config_destroy(c);
    for (char *s = text; *s != '\0'; s += strcspn(s, "\n"), s += *s == '\n')
        if (s[0] == '#' && s[1] >= 'a' && s[1] <= 'z')
            *s = ' ';
    c = build_file(text);
    assert_defaults(c);
    config_destroy(c);
    free(text);
}

static void
a_file_of_an_editor_of_another_system_means_the_same(void **state)
{
    struct config *c = build_file("\xEF\xBB\xBFworkers = 3 # three\r\nhandler = \"echo\"\r\n");
    const struct config_args args = {.config_file = FILE_NAME};

    (void)state;
    assert_int_equal(c->workers, 3);
    assert_string_equal(c->listeners[0].handler, "echo");
    config_destroy(c);
    write_file("\xEF\xBB\xBF\r\nwerkers = 3\r\n");
    assert_refused(&args, FILE_NAME ":2: unknown option \"werkers\"; did you mean \"workers\"?");
}

static void
check_manual_entry(const char *text, const struct config_option *o)
{
    const char *initial = o->initial[0] == '\0' ? "empty" : o->initial, *entry, *end, *found;
    char wanted[128];

    snprintf(wanted, sizeof(wanted), "\n.It Ic %s No = ", o->name);
    entry = strstr(text, wanted);
    if (entry == NULL) {
        fail_msg("docs/man/msockd.conf.5 lacks %s", o->name);
        return;
    }
    end = strstr(entry + 1, "\n.It ");
    /* A backslash stands as \e in a manual page. */
    snprintf(wanted, sizeof(wanted), "\nDefault: %s%s\n", initial[0] == '\\' ? "\\e" : "",
             initial + (initial[0] == '\\'));
    found = strstr(entry, wanted);
    if (found == NULL || (end != NULL && found > end))
        fail_msg("docs/man/msockd.conf.5 lacks the default of %s, %s", o->name, initial);
}

static void
the_manual_page_shows_every_option_with_its_default(void **state)
{
    char *text = read_source("docs/man/msockd.conf.5");

    (void)state;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        check_manual_entry(text, &config_options[i]);
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_url_of_the_relay_has_the_options_of_a_stream),
        TEST(nothing_given_means_the_defaults),
        TEST(the_file_sets_every_option),
        TEST(comments_stand_anywhere_and_quotes_protect),
        TEST(variables_of_the_environment_stand_in_double_quotes),
        TEST(later_places_win_over_earlier_ones),
        TEST(verbosity_stays_within_the_levels),
        TEST(listeners_of_the_command_line_replace_those_of_the_file),
        TEST(host_and_port_change_the_first_listener),
        TEST(an_address_is_listed_once_but_port_0_often),
        TEST(a_log_file_is_for_formats_that_write_one),
        TEST(wrong_files_are_refused_with_line_and_reason),
        TEST(files_that_cannot_be_read_say_why),
        TEST(a_file_without_permission_is_refused),
        TEST(an_unknown_handler_or_protocol_is_answered_with_all_there_are),
        TEST(wrong_words_of_the_command_line_are_named),
        TEST(more_than_64_listeners_are_refused),
        TEST(a_long_value_is_cut_in_the_sentence),
        TEST(root_resolves_users_by_name_and_number),
        TEST(only_root_can_name_another_user),
        TEST(hundreds_of_builds_keep_no_memory),
        TEST(the_sample_file_shows_every_option_with_its_default),
        TEST(the_sample_file_means_the_defaults_with_and_without_its_comments),
        TEST(a_file_of_an_editor_of_another_system_means_the_same),
        TEST(the_manual_page_shows_every_option_with_its_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The whole way to a configuration: file, -o and command line, what is taken and what wins. */
#include "config_fixture.h"

#include "common/text.h"
#include "config/config_options.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_url_of_the_relay_has_the_options_of_a_stream),
        TEST(the_file_sets_every_option),
        TEST(comments_stand_anywhere_and_quotes_protect),
        TEST(variables_of_the_environment_stand_in_double_quotes),
        TEST(later_places_win_over_earlier_ones),
        TEST(verbosity_stays_within_the_levels),
        TEST(listeners_of_the_command_line_replace_those_of_the_file),
        TEST(host_and_port_change_the_first_listener),
        TEST(an_address_is_listed_once_but_port_0_often),
        TEST(a_log_file_is_for_formats_that_write_one),
        TEST(root_resolves_users_by_name_and_number),
        TEST(only_root_can_name_another_user),
        TEST(hundreds_of_builds_keep_no_memory),
        TEST(a_file_of_an_editor_of_another_system_means_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

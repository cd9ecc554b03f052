/* Answers of a stream, what servers say about it, their list, and keys. */
#include "common/fd.h"
#include "nats/publisher.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

static void
each_answer_has_its_meaning(void **state)
{
    static const struct {
        const char *text;
        enum answer_meaning meaning;
        uint64_t seq;
        bool duplicate;
    } cases[] = {
        {"{\"stream\":\"S\", \"seq\":42}", ANSWER_STORED, 42, false},
        {"{\"stream\":\"S\",\"seq\":7,\"duplicate\": true}", ANSWER_STORED, 7, true},
        /* The first copy is on its way through the cluster, and may be lost with its leader. */
        {"{\"stream\":\"S\",\"seq\":0,\"duplicate\": true}", ANSWER_AGAIN, 0, true},
        {"{\"stream\":\"S\", \"seq\":42,\"domain\":\"d\"}", ANSWER_STORED, 42, false},
        {"{\"stream\":\"S\", \"seq\":42", ANSWER_AGAIN, 0, false},
        {"{\"stream\":\"S\", \"seq\":42}}", ANSWER_AGAIN, 0, false},
        {"{\"stream\":\"S\", \"seq\":0}", ANSWER_AGAIN, 0, false},
        {"{\"stream\":\"S\", \"seq\":99999999999999999999}", ANSWER_AGAIN, 0, false},
        {"{\"stream\":\"\", \"seq\":42}", ANSWER_AGAIN, 0, false},
        {"{\"seq\":42}", ANSWER_AGAIN, 0, false},
        {"{\"stream\":\"S\"}", ANSWER_AGAIN, 0, false},
        {"{\"stream\":\"S\",\"seq\":\"42\"}", ANSWER_AGAIN, 0, false},
        {"{\"stream\":5,\"seq\":42}", ANSWER_AGAIN, 0, false},
        {"[]", ANSWER_AGAIN, 0, false},
        {"", ANSWER_AGAIN, 0, false},
        {"nonsense", ANSWER_AGAIN, 0, false},
        {"{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum messages "
         "exceeded\"},"
         "\"stream\":\"S\",\"seq\":0}",
         ANSWER_FULL, 0, false},
        {"{\"error\":{\"err_code\":10077,\"description\":\"maximum bytes exceeded\"}}", ANSWER_FULL,
         0, false},
        {"{\"error\":{\"err_code\":10077,\"description\":\"input/output error\"}}", ANSWER_AGAIN, 0,
         false},
        {"{\"error\":{\"err_code\":10054,\"description\":\"message size exceeds maximum "
         "allowed\"}}",
         ANSWER_TOO_LARGE, 0, false},
        {"{\"error\":{\"err_code\":10060,\"description\":\"expected stream does not match\"}}",
         ANSWER_MISSET, 0, false},
        {"{\"error\":{\"err_code\":10109,\"description\":\"sealed\"}}", ANSWER_REFUSED, 0, false},
        {"{\"error\":{\"err_code\":10008,\"description\":\"not available\"}}", ANSWER_AGAIN, 0,
         false},
        {"{\"error\":{},\"stream\":\"S\",\"seq\":42}", ANSWER_AGAIN, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct stream_answer answer;

        answer_parse(cases[i].text, strlen(cases[i].text), &answer);
        if (answer_means(&answer) != cases[i].meaning)
            fail_msg("%s means %d", cases[i].text, (int)answer_means(&answer));
        assert_int_equal(answer.seq, cases[i].seq);
        assert_int_equal(answer.duplicate, cases[i].duplicate);
    }
}

#define CONFIG(rest) "{\"config\":{\"name\":\"S\",\"storage\":\"file\"," rest "}}"

static void
a_stream_is_there_missing_or_unfit(void **state)
{
    static const struct {
        const char *text;
        enum stream_state is;
        const char *stored;
    } cases[] = {
        {CONFIG("\"subjects\":[\"in.>\"],\"num_replicas\":3"), STREAM_THERE, "quorum"},
        {CONFIG("\"subjects\":[\"x\",\"in.*.*\"],\"num_replicas\":1"), STREAM_THERE, "file"},
        {CONFIG("\"subjects\":[\"in.x.*\"],\"num_replicas\":1"), STREAM_UNFIT, NULL},
        {CONFIG("\"num_replicas\":1"), STREAM_UNFIT, NULL},
        {CONFIG("\"subjects\":[\"in.>\"],\"sealed\":true"), STREAM_UNFIT, NULL},
        {"{\"config\":{\"storage\":\"memory\",\"subjects\":[\">\"],\"num_replicas\":1}}",
         STREAM_THERE, "memory"},
        {"{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}",
         STREAM_MISSING, NULL},
        {"{\"error\":{\"err_code\":10005}}", STREAM_UNSURE, NULL},
        {"{\"error\":{\"err_code\":10008}}", STREAM_UNSURE, NULL},
        {"{\"error\":{\"err_code\":10065}}", STREAM_OVERLAPS, NULL},
        {"{\"error\":{\"err_code\":10074,\"description\":\"replicas > 1 not supported in "
         "non-clustered mode\"}}",
         STREAM_DENIED, NULL},
        {"", STREAM_UNSURE, NULL},
        {"[1]", STREAM_UNSURE, NULL},
    };
    const struct publisher_config config = {.stream = "S", .subjects = "in.*.*"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct stream_facts facts = {0};
        char text[NATS_ERROR_LEN] = "";

        if (stream_read(cases[i].text, strlen(cases[i].text), &config, &facts, text) != cases[i].is)
            fail_msg("%s: %s", cases[i].text, text);
        if (cases[i].stored != NULL)
            assert_string_equal(stream_stored(&facts), cases[i].stored);
        else
            assert_true(text[0] != '\0');
    }
}

static int
read_servers(const char *servers, struct link_settings *s, char error[NATS_ERROR_LEN])
{
    const struct publisher_config config = {.servers = servers};

    return link_settings_read(&config, s, error);
}

static void
servers_are_listed_and_their_user_is_taken(void **state)
{
    static const char *const bad[] = {"", ",", "a,,b", "http://a", "a,"};
    char error[NATS_ERROR_LEN];
    struct link_settings s;

    (void)state;
    assert_int_equal(read_servers("nats://u:p:q@a:1,b:2,tls://c", &s, error), 0);
    assert_int_equal(s.link.server_count, 3);
    assert_string_equal(s.link.servers[1], "nats://b:2");
    assert_string_equal(s.link.servers[2], "tls://c");
    assert_string_equal(s.link.user, "u");
    assert_string_equal(s.link.password, "p:q");
    link_settings_fini(&s);
    for (size_t i = 0; i < MS_ARRAY_LEN(bad); i++) {
        assert_int_equal(read_servers(bad[i], &s, error), -1);
        link_settings_fini(&s);
    }
    assert_int_equal(read_servers("http://u:geheim@a", &s, error), -1);
    assert_null(strstr(error, "geheim"));
    link_settings_fini(&s);
}

static void
write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    fd_close(&fd);
}

static void
who_we_are_stands_in_files(void **state)
{
    char path[] = "/tmp/msockd-nats-XXXXXX", error[NATS_ERROR_LEN];
    int fd = mkstemp(path);
    struct publisher_config config = {.servers = "a", .user = "me", .password_file = path};
    struct link_settings s;

    (void)state;
    fd_close(&fd);
    write_file(path, "secret\nmore\n");
    assert_int_equal(link_settings_read(&config, &s, error), 0);
    assert_string_equal(s.link.password, "secret");
    link_settings_fini(&s);
    write_file(path, "\n");
    assert_int_equal(link_settings_read(&config, &s, error), -1);
    link_settings_fini(&s);
    config = (struct publisher_config){.servers = "a", .nkey = path};
    assert_int_equal(link_settings_read(&config, &s, error), -1);
    link_settings_fini(&s);
    /* A pair of nsc's documentation. */
    write_file(path, "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n");
    assert_int_equal(link_settings_read(&config, &s, error), 0);
    assert_string_equal(s.link.nkey_public,
                        "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4");
    link_settings_fini(&s);
    write_file(path, "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VX\n");
    assert_int_equal(link_settings_read(&config, &s, error), -1);
    link_settings_fini(&s);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(link_settings_read(&config, &s, error), -1);
    link_settings_fini(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer_has_its_meaning),
        cmocka_unit_test(a_stream_is_there_missing_or_unfit),
        cmocka_unit_test(servers_are_listed_and_their_user_is_taken),
        cmocka_unit_test(who_we_are_stands_in_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

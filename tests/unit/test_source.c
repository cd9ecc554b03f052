/* Sources and rules: which peer is which source, what a rule may say, and whom it means. */
#include "common/source.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Of text: an address, or the number of a user. */
static struct source
source_from(const char *text)
{
    struct endpoint ep = {0};
    struct sockaddr_in *v4 = (void *)&ep.addr;
    struct sockaddr_in6 *v6 = (void *)&ep.addr;
    struct source user = {.kind = SOURCE_USER};

    if (strchr(text, ':') != NULL) {
        ep.addr.ss_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
    } else if (strchr(text, '.') != NULL) {
        ep.addr.ss_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, text, &v4->sin_addr), 1);
    } else {
        be32_store(user.bytes, (uint32_t)atoi(text));
        return user;
    }
    return source_of_peer(-1, &ep);
}

static void
a_rule_means_whom_it_says(void **state)
{
    static const struct {
        const char *rules, *source;
        bool matches;
    } cases[] = {
        {"10.0.0.0/8", "10.255.3.4", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.1.2.3/8", "10.9.9.9", true}, /* bits beyond the network do not count */
        {"10.0.0.128/25", "10.0.0.127", false},
        {"10.0.0.128/25", "10.0.0.129", true},
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.2", false},
        {"0.0.0.0/0", "1.2.3.4", true},
        {"0.0.0.0/0", "::1", false},
        {"::1", "::1", true},
        {"::1", "::2", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"10.0.0.0/8", "::ffff:10.0.0.1", true},
        {"::/0", "::ffff:10.0.0.1", false},
        {"user:0", "0", true},
        {"user:0", "1", false},
        {"user:7,::1,10.0.0.0/8", "10.1.1.1", true},
        {"unix", "4711", true},
        {"unix", "10.0.0.1", false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct source source = source_from(cases[i].source);
        struct source_rules rules;
        char reason[SOURCE_REASON_LEN];

        assert_int_equal(source_rules_parse(cases[i].rules, &rules, reason), 0);
        if (source_rules_match(&rules, &source) != cases[i].matches)
            fail_msg("%s and %s", cases[i].rules, cases[i].source);
    }
}

static void
a_user_may_have_a_name(void **state)
{
    const struct passwd *pw = getpwuid(0);
    struct source root = source_from("0"), other = source_from("1");
    char text[300], reason[SOURCE_REASON_LEN];
    struct source_rules rules;

    (void)state;
    if (pw == NULL)
        skip();
    snprintf(text, sizeof(text), "user:%s", pw->pw_name);
    assert_int_equal(source_rules_parse(text, &rules, reason), 0);
    assert_true(source_rules_match(&rules, &root));
    assert_false(source_rules_match(&rules, &other));
}

static void
what_is_no_rule_is_refused_with_a_reason(void **state)
{
    static const struct {
        const char *rules, *reason;
    } cases[] = {
        {"", "expected networks"},           {"10.0.0.1,", "expected networks"},
        {"10.0.0", "expected networks"},     {"example.org", "expected networks"},
        {"10.0.0.0/33", "0 to 32 bits"},     {"10.0.0.0/", "0 to 32 bits"},
        {"::1/129", "0 to 128 bits"},        {"::ffff:10.0.0.1", "expected networks"},
        {"user:", "no such user"},           {"user:no-such-user-here", "no such user"},
        {"user:4294967295", "no such user"},
    };
    char many[SOURCE_RULES_MAX * 8 + 16] = "10.0.0.1", reason[SOURCE_REASON_LEN];
    struct source_rules rules;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_int_equal(source_rules_parse(cases[i].rules, &rules, reason), -1);
        if (strstr(reason, cases[i].reason) == NULL)
            fail_msg("%s: %s", cases[i].rules, reason);
    }
    for (int i = 1; i < SOURCE_RULES_MAX; i++)
        strcat(many, ",1.1.1.1");
    assert_int_equal(source_rules_parse(many, &rules, reason), 0);
    strcat(many, ",1.1.1.1");
    assert_int_equal(source_rules_parse(many, &rules, reason), -1);
}

static void
the_peer_of_a_unix_socket_is_its_user(void **state)
{
    struct endpoint peer = {.addr.ss_family = AF_UNIX};
    struct source source;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    source = source_of_peer(fds[0], &peer);
    assert_int_equal(source.kind, SOURCE_USER);
    assert_int_equal(be32_load(source.bytes), geteuid());
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(source_of_peer(-1, &peer).kind, SOURCE_NONE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_means_whom_it_says),
        cmocka_unit_test(a_user_may_have_a_name),
        cmocka_unit_test(what_is_no_rule_is_refused_with_a_reason),
        cmocka_unit_test(the_peer_of_a_unix_socket_is_its_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

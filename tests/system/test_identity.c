/* Who a sender is: by its certificate or by its user, everywhere where it is shown, and what its
 * name lets it do. */
#include "daemon.h"
#include "harness.h"
#include "run.h"
#include "stats.h"

#include "support/certificates.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static char pki[HARNESS_PATH_LEN];

/* Runs commands with $D for the data directory, $C for msockctl and $S for msock, in the directory
 * of the certificates. Returns what they print, to be freed. */
static char *
shell(const struct daemon *d, const char *commands)
{
    char line[8 * HARNESS_PATH_LEN];
    struct run_result result;
    char *out;

    snprintf(line, sizeof(line), "cd %s; D=%s; C='%s -r %s'; S=%s; exec 2>&1; %s", pki, d->data_dir,
             harness_program("msockctl"), d->runtime_dir, harness_program("msock"), commands);
    result = run_program("/bin/sh", "-c", line, NULL);
    out = strdup(result.out);
    run_result_free(&result);
    assert_non_null(out);
    return out;
}

static void
expect(const struct daemon *d, const char *commands, const char *text)
{
    char *out = shell(d, commands);

    if (strstr(out, text) == NULL)
        fail_msg("%s: expected \"%s\", got \"%s\"", commands, text, out);
    free(out);
}

static void
make_certificates(void)
{
    char line[4 * HARNESS_PATH_LEN];
    struct run_result result;

    harness_directory(pki);
    snprintf(
        line, sizeof(line),
        "exec 2>&1; cd %s; c='%s pki'; $c init --dir . && $c issue --dir . --server localhost && "
        "for n in pump-1 pump-13 crane; do $c issue --dir . --client $n || exit 1; done",
        pki, harness_program("msockctl"));
    result = run_program("/bin/sh", "-c", line, NULL);
    if (result.status != EX_OK)
        fail_msg("%s", result.out);
    run_result_free(&result);
}

/* A listener of lines with TLS, and those options; limit, of the configuration, may be NULL. */
static struct daemon *
start_limited(const char *options, const char *limit)
{
    static char url[6 * HARNESS_PATH_LEN];

    make_certificates();
    snprintf(url, sizeof(url),
             "frame://127.0.0.1:0?framing=delimiter&tls=required&tls_cert=%s/localhost.pem&"
             "tls_key=%s/localhost.key&tls_client_ca=%s/ca.pem%s",
             pki, pki, pki, options);
    return daemon_start(
        &(struct daemon_options){.listen = {url}, .set = {limit}, .errors_expected = true});
}

static struct daemon *
start(const char *options)
{
    return start_limited(options, NULL);
}

/* "127.0.0.1:43117" */
static const char *
address(const struct daemon *d)
{
    return strstr(d->listeners[0].url, "//") + 2;
}

/* Sends a line as that client, and waits for the text: in what comes back, in the journal, in
 * $D/who or in the log. */
static void
expect_line(const struct daemon *d, const char *name, const char *line, const char *text)
{
    char command[1024];

    snprintf(command, sizeof(command),
             "(echo '%s'; sleep 0.7) | timeout 20 openssl s_client -connect %s -CAfile ca.pem "
             "-cert %s.pem -key %s.key -verify_return_error -quiet -no_ign_eof >got 2>&1; "
             "for i in $(seq 100); do cat got $D/journal/* $D/who $D/../log >all; "
             "grep -qF '%s' all && break; sleep 0.1; done; cat all",
             line, address(d), name, name, text);
    expect(d, command, text);
}

static void
a_certificate_says_who_it_is(void **state)
{
    static const char *const shows[] = {"conns", "sources"};
    struct daemon *d = start("");
    char command[512];

    (void)state;
    expect_line(d, "pump-1", "hello", "\"identity\":\"cert:pump-1\"");
    for (size_t i = 0; i < 2; i++) {
        snprintf(command, sizeof(command),
                 "timeout 60 openssl s_client -connect %s -CAfile ca.pem -cert pump-1.pem "
                 "-key pump-1.key -quiet </dev/null >/dev/null 2>&1 & for i in $(seq 300); do "
                 "$C %s >shown; grep -q cert:pump-1 shown && break; sleep 0.1; done; cat shown; "
                 "kill $!; wait",
                 address(d), shows[i]);
        expect(d, command, "cert:pump-1 ");
    }
    daemon_stop(d);
}

static void
rules_name_certificates(void **state)
{
    struct daemon *d = start("&allow=cert:pump-*&deny=cert:pump-13");

    (void)state;
    expect_line(d, "pump-1", "one", "\"text\":\"one\"");
    /* Lines have no word for it. */
    expect_line(d, "pump-13", "two", "verify return:1");
    expect_line(d, "crane", "three", "verify return:1");
    WAIT_FOR(stats_total(d, "denied") == 2, 20000);
    expect(d, "cat $D/journal/* | wc -l", "1\n");
    daemon_stop(d);
}

/* Addresses of this machine are exempt: their limit is none of their certificates either. */
static void
an_exempt_address_stays_exempt_under_a_name(void **state)
{
    struct daemon *d = start_limited("", "source_connections=1");
    char command[512];

    (void)state;
    snprintf(
        command, sizeof(command),
        "for i in 1 2 3; do timeout 60 openssl s_client -connect %s -CAfile ca.pem"
        " -cert pump-1.pem -key pump-1.key -quiet </dev/null >/dev/null 2>&1 & p=\"$p $!\"; done;"
        "for i in $(seq 300); do $C conns >shown; [ $(grep -c cert:pump-1 shown) = 3 ] && break;"
        " sleep 0.1; done; grep -c cert:pump-1 shown; kill $p; wait",
        address(d));
    expect(d, command, "3\n");
    assert_int_equal(stats_total(d, "refused"), 0);
    daemon_stop(d);
}

/* A directory has 255 bytes, and "cert:" is in it. */
static void
a_name_is_one_directory_or_stores_nothing(void **state)
{
    char name[252], url[6 * HARNESS_PATH_LEN], send[1024];
    struct daemon *d;

    (void)state;
    make_certificates();
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    certificate_make(pki, "long", "ca", &(struct certificate){.common_name = name});
    name[sizeof(name) - 2] = '\0';
    certificate_make(pki, "fits", "ca", &(struct certificate){.common_name = name});
    certificate_make(pki, "odd", "ca",
                     &(struct certificate){.common_name = "../%\\\x1b\xc2\x9b\xc2\xa9"});
    snprintf(url, sizeof(url),
             "msp://127.0.0.1:0?tls=required&tls_cert=%s/localhost.pem&tls_key=%s/localhost.key&"
             "tls_client_ca=%s/ca.pem&prefix=identity",
             pki, pki, pki);
    d = daemon_start(&(struct daemon_options){.listen = {url}});
    snprintf(
        send, sizeof(send),
        "for n in long fits odd; do $S send-file -u msp+tls://%s --server-name localhost "
        "--ca ca.pem --cert $n.pem --key-file $n.key --as f ca.pem; done; "
        "cmp ca.pem $D/files/cert:%s/f && ls $D/files | wc -l; "
        "ls $D/files/cert:$(printf '..%%%%2F%%%%25%%%%5C%%%%1B%%%%C2%%%%9B\302\251')/f | wc -l",
        address(d), name);
    expect(d, send, "bad-path: the name of the sender is too long for a directory\n2\n1\n");
    daemon_stop(d);
}

static void
the_user_of_a_unix_socket_is_known(void **state)
{
    char url[2 * HARNESS_PATH_LEN], text[512], commands[3 * HARNESS_PATH_LEN];
    const struct passwd *pw = getpwuid(getuid());
    struct daemon *d;

    (void)state;
    harness_directory(pki);
    snprintf(url, sizeof(url), "msp://%s/socket?prefix=identity", pki);
    d = daemon_start(&(struct daemon_options){.listen = {url}});
    snprintf(commands, sizeof(commands),
             "$S send-text -u msp://%s/socket hello; echo file > f; "
             "$S send-file -u msp://%s/socket --as a/b f; cat $D/journal/*",
             pki, pki);
    snprintf(text, sizeof(text), "\"identity\":\"user:%s\"", pw != NULL ? pw->pw_name : "?");
    expect(d, commands, text);
    snprintf(text, sizeof(text), "\"file\":\"files/user:%s/a/b\"", pw != NULL ? pw->pw_name : "?");
    expect(d, "cat $D/journal/*", text);
    snprintf(commands, sizeof(commands), "cat $D/files/user:%s/a/b",
             pw != NULL ? pw->pw_name : "?");
    expect(d, commands, "file\n");
    daemon_stop(d);
}

static void
a_certificate_goes_before_the_user(void **state)
{
    char url[6 * HARNESS_PATH_LEN], commands[2 * HARNESS_PATH_LEN];
    struct daemon *d;

    (void)state;
    make_certificates();
    snprintf(url, sizeof(url),
             "frame://%s/socket?framing=delimiter&tls=required&tls_cert=%s/localhost.pem&"
             "tls_key=%s/localhost.key&tls_client_ca=%s/ca.pem",
             pki, pki, pki, pki);
    d = daemon_start(&(struct daemon_options){.listen = {url}});
    snprintf(commands, sizeof(commands),
             "(echo hello; for i in $(seq 300); do grep -q hello $D/journal/* && break; sleep 0.1; "
             "done) | timeout 60 openssl s_client -unix %s/socket -CAfile ca.pem -cert pump-1.pem "
             "-key pump-1.key -quiet -no_ign_eof >said 2>&1; cat said $D/journal/*",
             pki);
    expect(d, commands, "\"identity\":\"cert:pump-1\"");
    daemon_stop(d);
}

static void
a_command_hears_who_it_is(void **state)
{
    struct daemon *d =
        start("&handler=exec&exec=once&command=echo%20$MSOCK_IDENTITY%20>>$MSOCK_DATA_DIR/who");

    (void)state;
    expect_line(d, "pump-1", "x", "cert:pump-1");
    daemon_stop(d);
}

static void
options_that_do_not_go_together_are_refused(void **state)
{
    static const char *const wrong[][2] = {
        {"msp://127.0.0.1:1?tls=required", "tls=required needs tls_cert=FILE and tls_key=FILE"},
        {"msp://127.0.0.1:1?allow=cert:a", "a rule about cert:NAME needs tls=required"},
        {"msp://127.0.0.1:1?prefix=identity", "prefix=identity needs a Unix socket"},
        {"msp:///tmp/no/socket?prefix=identity&proxy=required&proxy_from=unix",
         "prefix=identity needs a Unix socket without proxy=required, or tls=required and"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(wrong); i++) {
        struct run_result result =
            run_program(harness_program("msockd"), "-t", "-l", wrong[i][0], NULL);

        assert_int_equal(result.status, EX_CONFIG);
        if (strstr(result.err, wrong[i][1]) == NULL)
            fail_msg("%s: %s", wrong[i][0], result.err);
        run_result_free(&result);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_certificate_says_who_it_is),
        SYSTEM_TEST(rules_name_certificates),
        SYSTEM_TEST(an_exempt_address_stays_exempt_under_a_name),
        SYSTEM_TEST(a_name_is_one_directory_or_stores_nothing),
        SYSTEM_TEST(the_user_of_a_unix_socket_is_known),
        SYSTEM_TEST(a_certificate_goes_before_the_user),
        SYSTEM_TEST(a_command_hears_who_it_is),
        SYSTEM_TEST(options_that_do_not_go_together_are_refused),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

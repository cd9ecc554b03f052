/* msockctl pki: openssl takes what it made, nothing is overwritten, and keys are for their owner.
 */
#include "harness.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

/* Runs commands with $C for msockctl pki in a directory of its own; expects the status, and the
 * text in what was printed. */
static void
expect(const char *dir, const char *commands, int status, const char *text)
{
    char line[4 * HARNESS_PATH_LEN];
    struct run_result result;

    snprintf(line, sizeof(line), "set -e; cd %s; umask 0; C='%s pki'; exec 2>&1; %s", dir,
             harness_program("msockctl"), commands);
    result = run_program("/bin/sh", "-c", line, NULL);
    if (result.status != status || strstr(result.out, text) == NULL)
        fail_msg("%s: status %d: %s", commands, result.status, result.out);
    run_result_free(&result);
}

static mode_t
mode_of(const char *dir, const char *name)
{
    char path[HARNESS_PATH_LEN];
    struct stat st;

    harness_join(path, dir, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void
openssl_takes_what_it_made(void **state)
{
    char dir[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    expect(
        dir,
        "$C init --dir p; $C issue --dir p --server --hosts '*.b.example,10.0.0.7,::1' a.example;"
        "$C issue --dir p --client pump-1; $C issue --dir p 192.0.2.1",
        0, "pump-1.pem: valid until ");
    expect(dir,
           "v() { openssl verify -x509_strict -CAfile p/ca.pem \"$@\"; };"
           "v -purpose sslserver -verify_hostname a.example p/a.example.pem;"
           "v -purpose sslserver -verify_hostname x.b.example p/a.example.pem;"
           "v -purpose sslserver -verify_ip ::1 p/a.example.pem;"
           "v -purpose sslserver -verify_ip 192.0.2.1 p/192.0.2.1.pem;"
           "v -purpose sslclient p/192.0.2.1.pem p/pump-1.pem;"
           "! v -purpose sslclient p/a.example.pem; ! v -purpose sslserver p/pump-1.pem",
           0, "p/pump-1.pem: OK");
    expect(dir, "openssl x509 -in p/pump-1.pem -noout -subject -ext subjectAltName", 0,
           "DNS:pump-1");
    expect(dir, "openssl pkey -in p/pump-1.key -noout -check", 0, "Key is valid");
    assert_int_equal(mode_of(dir, "p"), 0700);
    assert_int_equal(mode_of(dir, "p/ca.key"), 0600);
    assert_int_equal(mode_of(dir, "p/pump-1.key"), 0600);
    assert_int_equal(mode_of(dir, "p/pump-1.pem"), 0644);
}

static void
nothing_is_overwritten(void **state)
{
    char dir[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    expect(dir, "$C init; $C issue a; cat msockd-pki/* >before", 0, "a.pem");
    expect(dir, "$C init", EX_CANTCREAT, "nothing is overwritten");
    expect(dir, "$C issue a", EX_CANTCREAT, "nothing is overwritten");
    expect(dir, "rm msockd-pki/a.key; $C issue a || ! test -e msockd-pki/a.key || exit 1", 0,
           "a.pem cannot be created");
    expect(dir, "ln -s /dev/null msockd-pki/b.key; $C issue b", EX_CANTCREAT, "b.key");
}

static void
show_tells_kind_names_and_end(void **state)
{
    char dir[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    expect(dir,
           "$C init --days 10; $C issue --client c; $C issue --server s; $C init --dir q;"
           "$C issue --dir q z; cp q/z.pem msockd-pki; echo rubbish >msockd-pki/r.pem",
           0, "");
    expect(dir,
           "$C show --json | jq -r '.[] | .file + \" \" + .kind + \" \" + .names + \" \" + .state' "
           ">shown;"
           "printf 'c.pem client DNS:c valid\nca.pem authority  valid\ns.pem server DNS:s valid\n"
           "z.pem both DNS:z of another authority\n' | diff - shown && echo same",
           0, "same");
    expect(dir, "$C show --json | jq 'all(.[:3][]; .days <= 10 and (.sha256 | length) == 64)'", 0,
           "true");
    expect(dir, "$C show", 0, "of another authority");
}

static void
what_makes_no_sense_is_refused(void **state)
{
    static const struct {
        const char *command;
        int status;
        const char *text;
    } rows[] = {
        {"$C", EX_USAGE, "init, issue or show"},
        {"$C sell", EX_USAGE, "\"sell\" is none of init, issue and show"},
        {"$C issue", EX_USAGE, "is missing"},
        {"$C issue ../a", EX_USAGE, "cannot be the name"},
        {"$C issue ca", EX_USAGE, "cannot be the name"},
        {"$C issue a.example.", EX_USAGE, "cannot be the name"},
        {"$C issue a.example:8000", EX_USAGE, "cannot be the name"},
        {"$C issue --hosts ::1:x a", EX_USAGE, "--hosts: \"::1:x\""},
        {"$C issue -- -a", EX_USAGE, "cannot be the name"},
        {"$C issue $(printf %065d 0)", EX_USAGE, "cannot be the name"},
        {"$C issue --client --hosts b a", EX_USAGE, "is for servers"},
        {"$C issue --hosts 'b c' a", EX_USAGE, "\"b c\""},
        {"$C issue --hosts '' a", EX_USAGE, "--hosts: \"\""},
        {"$C issue --hosts b,, a", EX_USAGE, "--hosts: \"\""},
        {"$C issue --hosts , a", EX_USAGE, "--hosts: \"\""},
        {"$C issue --days 0 a", EX_USAGE, "--days 0"},
        {"$C issue a", EX_NOINPUT, "msockd-pki: No such file"},
        {"mkdir msockd-pki; $C issue a", EX_NOINPUT, "makes an authority"},
        {"$C init --dir none/p", EX_CANTCREAT, "No such file"},
        {"$C init --dir q; $C init; cp q/ca.key msockd-pki; $C issue a", EX_NOINPUT,
         "is not that of the authority"},
        {"$C init --dir r; $C issue --dir r a; cd r; mv a.pem ca.pem; mv a.key ca.key;"
         "$C issue --dir . b",
         EX_NOINPUT, "ca.pem is not that of an authority"},
    };
    char dir[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect(dir, rows[i].command, rows[i].status, rows[i].text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(openssl_takes_what_it_made),
        SYSTEM_TEST(nothing_is_overwritten),
        SYSTEM_TEST(show_tells_kind_names_and_end),
        SYSTEM_TEST(what_makes_no_sense_is_refused),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* Handles and addresses, and that the manual knows every function. */
#include "msock.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
addresses_of_servers_are_taken(void **state)
{
    static const char *const good[] = {
        "msp://127.0.0.1:8000",
        "msp://[::1]:8000",
        "msp:///run/msock.sock",
        "msp://example.org:1",
        "msp://localhost",
        "tinyproto://127.0.0.1",
        "cnp://127.0.0.1:8000?mode=burst",
        "frame://127.0.0.1:8000",
        "frame:///run/msock.sock?framing=fixed:16",
        "frame://[::1]:8000?framing=delimiter&delimiter=%0A",
        "frame://[::1]:8000?framing=eof",
    };
    char error[200];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        msock *m = msock_open(good[i]);

        assert_non_null(m);
        assert_string_equal(msock_error(m), "");
        assert_string_equal(msock_error_code(m), "");
        assert_string_equal(msock_last_id(m), "");
        msock_close(m);
        assert_int_equal(msock_url_error(good[i], error, sizeof(error)), MSOCK_OK);
        assert_string_equal(error, "");
    }
    msock_close(NULL);
}

static void
other_addresses_are_refused_with_a_reason(void **state)
{
    static const char *const bad[] = {
        "",
        "127.0.0.1:8000",
        "http://127.0.0.1:8000",
        "msp://127.0.0.1:0",
        "msp://127.0.0.1:70000",
        "msp://",
        "msp://127.0.0.1:8000?handler=echo",
        "msp://127.0.0.1:8000?framing=eof",
        "tinyproto://127.0.0.1:0",
        "tinyproto://127.0.0.1:8000?window_size=8",
        "tinyproto://127.0.0.1:8000?key_file=/nonexistent/key",
        "frame://127.0.0.1:8000?framing=none",
        "frame://127.0.0.1:8000?framing=fixed:0",
        "frame://127.0.0.1:8000?framing=length32&delimiter=x",
        "frame://127.0.0.1:8000?mode=burst",
        "msp://[::1",
    };
    char error[200], small[8];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(msock_open(bad[i]));
        assert_int_equal(msock_url_error(bad[i], error, sizeof(error)), MSOCK_USAGE);
        assert_true(strlen(error) > 10);
        assert_int_equal(msock_url_error(bad[i], small, sizeof(small)), MSOCK_USAGE);
        assert_memory_equal(small, error, sizeof(small) - 1);
        assert_int_equal(msock_url_error(bad[i], NULL, 0), MSOCK_USAGE);
    }
    assert_null(msock_open(NULL));
    assert_int_equal(msock_url_error(NULL, error, sizeof(error)), MSOCK_USAGE);
}

static void
some_protocols_acknowledge(void **state)
{
    static const struct {
        const char *url;
        int acknowledges;
    } cases[] = {
        {"msp://127.0.0.1:1", 1}, {"auto://127.0.0.1:1", 1}, /* it speaks msp */
        {"cnp://127.0.0.1:1", 1}, {"tinyproto://127.0.0.1:1", 0}, {"frame://127.0.0.1:1", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msock *m = msock_open(cases[i].url);

        assert_non_null(m);
        assert_int_equal(msock_acknowledges(m), cases[i].acknowledges);
        assert_int_equal(msock_fd(m), -1);
        msock_close(m);
    }
}

static void
statuses_have_names(void **state)
{
    (void)state;
    assert_string_equal(msock_version(), MSOCK_VERSION);
    assert_string_equal(msock_status_name(MSOCK_OK), "ok");
    for (int i = MSOCK_USAGE; i <= MSOCK_TIMEOUT; i++)
        assert_string_not_equal(msock_status_name((enum msock_status)i), "unknown");
    assert_string_equal(msock_status_name((enum msock_status)99), "unknown");
}

static char *
read_text(const char *name)
{
    const char *source = getenv("MSOCK_SOURCE");
    char path[512], *text = calloc(1, 200000);
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", source != NULL ? source : ".", name);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_in_range(fread(text, 1, 199999, f), 1000, 199998);
    fclose(f);
    return text;
}

/* The name of the function that is declared after MSOCK_API, in out; returns what follows it. */
static const char *
declared_name(const char *p, char out[64])
{
    size_t n = 0;
    const char *paren = strchr(p, '(');
    const char *name = paren;

    assert_non_null(paren);
    while (isalnum((unsigned char)name[-1]) || name[-1] == '_')
        name--;
    n = (size_t)(paren - name);
    assert_in_range(n, 1, 63);
    memcpy(out, name, n);
    out[n] = '\0';
    return paren;
}

static void
the_manual_has_an_entry_for_every_function(void **state)
{
    char *header = read_text("include/msock.h"), *manual = read_text("docs/man/msock.3");
    const char *p = strstr(header, "#define MSOCK_API");
    unsigned count = 0;

    (void)state;
    assert_non_null(p);
    for (p += 20; (p = strstr(p, "MSOCK_API ")) != NULL; count++) {
        char name[64], synopsis[100], entry[100];

        p = declared_name(p, name);
        snprintf(synopsis, sizeof(synopsis), "\n.Fo %s\n", name);
        snprintf(entry, sizeof(entry), "\n.It Fn %s", name);
        if (strstr(manual, synopsis) == NULL || strstr(manual, entry) == NULL)
            fail_msg("%s is not in the synopsis or not described", name);
    }
    assert_in_range(count, 25, 100);
    free(header);
    free(manual);
}

static void
tls_is_for_urls_with_tls(void **state)
{
    msock *plain = msock_open("msp://127.0.0.1:1"), *tls = msock_open("msp+tls://127.0.0.1:1");

    (void)state;
    assert_non_null(plain);
    assert_non_null(tls);
    assert_int_equal(msock_set_tls(plain, NULL, NULL, NULL, NULL, 0), MSOCK_USAGE);
    assert_int_equal(msock_set_tls(tls, NULL, NULL, NULL, "a.example", 0), MSOCK_OK);
    assert_int_equal(msock_set_tls(tls, NULL, NULL, NULL, NULL, 1), MSOCK_OK);
    assert_int_equal(msock_set_tls(tls, "/none", NULL, NULL, NULL, 0), MSOCK_LOCAL);
    assert_int_equal(msock_set_tls(tls, NULL, "/none", NULL, NULL, 0), MSOCK_LOCAL);
    assert_non_null(strstr(msock_error(tls), "the key is missing"));
    msock_close(plain);
    msock_close(tls);
    assert_int_equal(msock_url_error("msp+tls://a?tls_insecure=yes&tls_name=b", NULL, 0), MSOCK_OK);
    assert_int_equal(msock_url_error("msp+tls://a?tls_insecure=maybe", NULL, 0), MSOCK_USAGE);
    assert_int_equal(msock_url_error("msp+tls://a?tls_ca=/none", NULL, 0), MSOCK_USAGE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_servers_are_taken),
        cmocka_unit_test(other_addresses_are_refused_with_a_reason),
        cmocka_unit_test(some_protocols_acknowledge),
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test(tls_is_for_urls_with_tls),
        cmocka_unit_test(the_manual_has_an_entry_for_every_function),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "client_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

msock *
client_open(const char *format, ...)
{
    char url[300];
    va_list args;
    msock *m;

    va_start(args, format);
    vsnprintf(url, sizeof(url), format, args);
    va_end(args);
    m = msock_open(url);
    assert_non_null(m);
    msock_set_timeouts(m, 5000, 5000);
    msock_set_retries(m, 2, 1, 2);
    return m;
}

void
client_expect_reply(const msock *m, const char *expected)
{
    size_t n;
    const char *reply = msock_reply(m, &n);

    assert_non_null(reply);
    assert_int_equal(n, strlen(expected));
    assert_string_equal(reply, expected);
}

void
client_expect_received(msock *m, const char *expected)
{
    const void *data;
    size_t n;

    assert_int_equal(msock_recv(m, 5000, &data, &n), MSOCK_OK);
    assert_int_equal(n, strlen(expected));
    assert_string_equal(data, expected);
}

void
client_write_file(const char *path, const void *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), n);
    close(fd);
}

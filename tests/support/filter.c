/* Linked into every test program: CMOCKA_TEST_FILTER names the tests that run ('*' and '?' stand
 * for letters); without it all do. tests/run.sh sets it for TEST=program:test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void
filter_tests(void)
{
    const char *pattern = getenv("CMOCKA_TEST_FILTER");

    if (pattern != NULL && pattern[0] != '\0')
        cmocka_set_test_filter(pattern);
}

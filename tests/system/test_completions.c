/* Completion in the shell: bash completes in earnest, and all that --help has is there for zsh and
 * fish too. */
#include "daemon.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>

/* tests/completions.bash BUILD [PROGRAM LINE]; what it prints, to be freed. */
static char *
completions(const char *program, const char *line)
{
    struct run_result result = run_program("/bin/bash", harness_source("tests/completions.bash"),
                                           getenv("MSOCK_BUILD"), program, line, NULL);

    assert_string_equal(result.err, "");
    assert_int_equal(result.status, 0);
    free(result.err);
    return result.out;
}

static void
every_command_and_option_is_there_in_each_shell(void **state)
{
    char *lacking = completions(NULL, NULL);

    (void)state;
    assert_string_equal(lacking, "");
    free(lacking);
}

static void
values_are_completed(void **state)
{
    static const struct {
        const char *program, *line, *wanted;
    } lines[] = {
        {"msockctl", "msockctl con", "conns\n"},
        {"msockctl", "msockctl -r /tmp conns --sort nack", "nack1\nnack2\n"},
        {"msockctl", "msockctl conns --sort=nack2", "nack2\n"},
        {"msockctl", "msockctl explain worker_died", "worker_died\n"},
        {"msockctl", "msockctl top --view l", "listeners\n"},
        {"msockd", "msockd -H e", "echo\nexec\n"},
        {"msockd", "msockd --handler=j", "journal\n"},
        {"msockd", "msockd -o log_format=j", "journal\njson\n"},
        {"msockd", "msockd -o log_fi", "log_file=\n"},
        {"msockd", "msockd -o sandbox=", "best\noff\nrequire\n"},
        {"msockd", "msockd -o tls_min=", "1.2\n1.3\n"},
        {"msockd", "msockd -o workers", "workers=\n"},
        {"msockd", "msockd -l c", "cnp://\n"},
        {"msockd", "msockd -l s", "systemd:\n"},
        {"msock", "msock bench --reply o", "off\non\n"},
        {"msock", "msock bench --kind p", "plain\n"},
        {"msock", "msock send --server-name ", "\n"},
        {"msock", "msock send -u cnp+", "cnp+tls://\n"},
        {"msock", "msock send -u msp://a.ex", "//a.example:1\n"}, /* what bash takes for a word */
    };

    (void)state;
    setenv("MSOCK_URL", "msp://a.example:1", 1);
    for (size_t i = 0; i < MS_ARRAY_LEN(lines); i++) {
        char *words = completions(lines[i].program, lines[i].line);

        assert_string_equal(words, lines[i].wanted);
        free(words);
    }
    unsetenv("MSOCK_URL");
}

static void
open_listeners_are_completed(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {"msp://127.0.0.1:0", "frame://127.0.0.1:0?handler=echo"}});
    char *words;

    (void)state;
    setenv("RUNTIME_DIRECTORY", d->runtime_dir, 1);
    words = completions("msock", "msock send -u ");
    assert_non_null(strstr(words, d->listeners[0].url));
    assert_non_null(strstr(words, d->listeners[1].url));
    free(words);
    unsetenv("RUNTIME_DIRECTORY");
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(every_command_and_option_is_there_in_each_shell),
        SYSTEM_TEST(values_are_completed),
        SYSTEM_TEST(open_listeners_are_completed),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* msock chat from a pipe: what comes in is printed, also where it was read while a line was sent. */
#include "daemon.h"
#include "target.h"

#include <stdio.h>
#include <string.h>

#define LINES  "one\ntwo\nthree\n"
#define ROUNDS 5 /* what is read when is a matter of luck */

static void
answers_are_printed_over_every_protocol(void **state)
{
    static const char *const protocols[] = {"tinyproto", "cnp", "frame"};
    struct daemon *d = daemon_start(&(struct daemon_options){
        .handler = "echo",
        .listen = {"tinyproto://127.0.0.1:0?reply=yes", "cnp://127.0.0.1:0?reply=yes",
                   "frame://127.0.0.1:0?reply=yes"}});
    struct run_options how = {.input = LINES, .input_len = strlen(LINES)};

    (void)state;
    for (size_t i = 0; i < 3 * ROUNDS; i++) {
        const char *argv[] = {harness_program("msock"), "chat", "-u", NULL, "--wait", "0.2", NULL};
        struct running r;
        struct run_result result;
        char url[80];

        snprintf(url, sizeof(url), "%s://127.0.0.1:%u", protocols[i % 3],
                 target_port(&d->listeners[i % 3]));
        argv[3] = url;
        run_start(&r, argv, &how);
        run_finish(&r, 10000, &result);
        if (result.status != 0 || strcmp(result.out, LINES) != 0)
            fail_msg("%s: status %d, printed \"%s\", said \"%s\"", url, result.status, result.out,
                     result.err);
        run_result_free(&result);
    }
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(answers_are_printed_over_every_protocol),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

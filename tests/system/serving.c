/* Starts and stops msockctl serve. */
#include "serving.h"

#include "support/signals.h"

#include <string.h>
#include <unistd.h>

void
serving_need(void)
{
    if (harness_is_built("msockctl-serve"))
        return;
    print_message("msockctl-serve is not built: there is no libmicrohttpd-dev or libjs-chart.js\n");
    skip();
}

static bool
serving_said(struct serving *s)
{
    char text[256];
    ssize_t n = pread(s->run.out, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    if (sscanf(text, "serving %127s\n", s->url) != 1 || strchr(text, '\n') == NULL)
        return false;
    return sscanf(strrchr(s->url, ':'), ":%u/", &s->port) == 1;
}

void
serving_start(struct serving *s, const char *runtime_dir, const char *const words[])
{
    const char *argv[16] = {harness_program("msockctl"), "-r", runtime_dir, "serve"};

    for (size_t i = 0; words[i] != NULL; i++)
        argv[4 + i] = words[i];
    run_start(&s->run, argv, NULL);
    WAIT_FOR(serving_said(s) || run_ended(&s->run, 0), 20000);
    if (run_ended(&s->run, 0)) {
        struct run_result result;

        run_finish(&s->run, 1000, &result);
        fail_msg("msockctl serve: %s", result.err);
    }
}

void
serving_stop(struct serving *s)
{
    struct run_result result;

    signal_send(s->run.pid, SIGTERM);
    run_finish(&s->run, 20000, &result);
    assert_string_equal(result.err, "");
    assert_int_equal(result.status, 0);
    run_result_free(&result);
}

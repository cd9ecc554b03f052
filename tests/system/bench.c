#include "bench.h"

#include "harness.h"

#include <stdio.h>

#define WORDS_MAX 32

struct daemon *
bench_daemon(const char *handler, const struct bench_kind *kind)
{
    struct daemon_options options = {
        .workers = 1, .handler = handler, .listen = {kind->listen}, .errors_expected = true};

    return daemon_start(&options);
}

void
bench_start(struct running *r, const char *server, const struct bench_kind *kind,
            const char *const *words)
{
    const char *argv[WORDS_MAX] = {harness_program("msock"), "bench", "--json", "-u"};
    char url[BENCH_URL];
    size_t n = 5;

    snprintf(url, sizeof(url), "%s%s", server, kind->options);
    argv[4] = url;
    for (size_t i = 0; kind->words[i] != NULL; i++)
        argv[n++] = kind->words[i];
    while (n < WORDS_MAX - 1 && (argv[n] = *words++) != NULL)
        n++;
    run_start(r, argv, NULL);
}

json_t *
bench_finish(struct running *r, const struct bench_kind *kind, int status)
{
    struct run_result result;
    json_t *value;

    run_finish(r, 60000, &result);
    value = json_loads(result.out, 0, NULL);
    if (result.status != status || !json_is_object(value))
        fail_msg("%s%s: status %d, not %d; %s%s", kind->listen, kind->options, result.status,
                 status, result.out, result.err);
    run_result_free(&result);
    return value;
}

json_t *
bench_run(const struct daemon *d, const struct bench_kind *kind, const char *const *words,
          int status)
{
    struct running r;

    bench_start(&r, d->listeners[0].url, kind, words);
    return bench_finish(&r, kind, status);
}

uint64_t
bench_number(const json_t *value, const char *group, const char *name)
{
    const json_t *object = group != NULL ? json_object_get(value, group) : value;
    const json_t *member = json_object_get(object, name);

    if (!json_is_integer(member))
        fail_msg("there is no number %s", name);
    return (uint64_t)json_integer_value(member);
}

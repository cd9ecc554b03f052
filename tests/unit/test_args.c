/* The command line of msockd: every option, every way to get one wrong, and the help. */
#include "config/config_options.h"
#include "config/config_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS_MAX 160

/* One command line; args point into it. */
struct line {
    char *argv[WORDS_MAX + 2];
    int argc;
    int rc;
    struct args args;
    char error[CONFIG_ERROR_LEN];
};

static void
line_add(struct line *line, const char *word)
{
    assert_true(line->argc <= WORDS_MAX);
    line->argv[line->argc++] = ms_strdup(word);
}

/* Takes words until NULL. */
static void
line_parse(struct line *line, const char *const *words)
{
    *line = (struct line){0};
    line_add(line, "msockd");
    while (*words != NULL)
        line_add(line, *words++);
    line->rc = args_parse(line->argc, line->argv, &line->args, line->error);
}

static void
line_fini(struct line *line)
{
    for (int i = 0; i < line->argc; i++)
        free(line->argv[i]);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
no_words_mean_run_with_defaults(void **state)
{
    const char *const none[] = {NULL};
    struct line line;

    (void)state;
    line_parse(&line, none);
    assert_int_equal(line.rc, 0);
    assert_int_equal(line.args.action, ARGS_RUN);
    assert_null(line.args.config.config_file);
    assert_null(line.args.config.workers);
    assert_int_equal(line.args.config.listen_count, 0);
    assert_int_equal(line.args.config.set_count, 0);
    assert_int_equal(line.args.config.verbosity, 0);
    assert_false(line.args.config.daemonize);
    line_fini(&line);
}

static void
check_all(const char *const *words)
{
    const struct config_args *c;
    struct line line;

    line_parse(&line, words);
    c = &line.args.config;
    assert_int_equal(line.rc, 0);
    assert_string_equal(c->workers, "8");
    assert_int_equal(c->listen_count, 2);
    assert_string_equal(c->listen[0], "msp://a:1");
    assert_string_equal(c->listen[1], "msp://b:2");
    assert_string_equal(c->handler, "echo");
    assert_string_equal(c->data_dir, "data");
    assert_string_equal(c->runtime_dir, "run");
    assert_string_equal(c->config_file, "file");
    assert_int_equal(c->set_count, 2);
    assert_string_equal(c->set[0], "timeout=5s");
    assert_string_equal(c->set[1], "sync=no");
    assert_string_equal(c->host, "::1");
    assert_string_equal(c->port, "9");
    assert_string_equal(c->max_size, "1M");
    assert_true(c->daemonize);
    assert_int_equal(c->verbosity, 1);
    assert_int_equal(line.args.action, ARGS_TEST);
    line_fini(&line);
}

static void
short_and_long_options_say_the_same(void **state)
{
    (void)state;
    check_all(WORDS("-w", "8", "-l", "msp://a:1", "-lmsp://b:2", "-H", "echo", "-d", "data", "-r",
                    "run", "-c", "file", "-o", "timeout=5s", "-osync=no", "--host", "::1", "--port",
                    "9", "--max-size", "1M", "-tDvvq"));
    check_all(WORDS("--workers=8", "--listen", "msp://a:1", "--listen=msp://b:2", "--handler",
                    "echo", "--data-dir=data", "--runtime-dir=run", "--config=file", "--set",
                    "timeout=5s", "--set=sync=no", "--host=::1", "--port=9", "--max-size=1M",
                    "--test", "--daemon", "--verbose", "--verbose", "--quiet"));
}

static void
the_first_of_help_version_and_test_stands(void **state)
{
    static const struct {
        const char *words[3];
        enum args_action action;
    } cases[] = {
        {{"-h", "-V"}, ARGS_HELP},     {{"-V", "-h"}, ARGS_VERSION}, {{"-t", "-h"}, ARGS_TEST},
        {{"--version"}, ARGS_VERSION}, {{"--help"}, ARGS_HELP},      {{"-w8", "-h"}, ARGS_HELP},
    };
    struct line line;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        line_parse(&line, cases[i].words);
        assert_int_equal(line.rc, 0);
        assert_int_equal(line.args.action, cases[i].action);
        line_fini(&line);
    }
}

static void
what_is_wrong_is_said_in_one_sentence(void **state)
{
    static const struct {
        const char *words[4];
        const char *error;
    } cases[] = {
        {{"-Z"}, "-Z: unknown option; msockd -h lists them all"},
        {{"-tZ"}, "-Z: unknown option; msockd -h lists them all"},
        {{"--bogus"}, "--bogus: unknown option; msockd -h lists them all"},
        {{"--bogus=1"}, "--bogus=1: unknown option; msockd -h lists them all"},
        {{"-\x01"}, "-\\x01: unknown option; msockd -h lists them all"},
        {{"-w"}, "-w: expected N after it"},
        {{"-tw"}, "-w: expected N after it"},
        {{"--workers"}, "--workers: expected N after it"},
        {{"-v", "--max-size"}, "--max-size: expected SIZE after it"},
        {{"-o"}, "-o: expected OPTION=VALUE after it"},
        {{"--test=1"}, "--test=1: takes no value"},
        {{"start"}, "unexpected argument \"start\"; options begin with a hyphen"},
        {{"-w", "8", "more"}, "unexpected argument \"more\"; options begin with a hyphen"},
        {{"--", "-w"}, "unexpected argument \"-w\"; options begin with a hyphen"},
    };
    struct line line;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        line_parse(&line, cases[i].words);
        assert_int_equal(line.rc, -1);
        assert_string_equal(line.error, cases[i].error);
        line_fini(&line);
    }
}

static void
repeatable_options_have_an_end(void **state)
{
    const char *words[WORDS_MAX + 1] = {NULL};
    struct line line;

    (void)state;
    for (size_t i = 0; i < CONFIG_LISTENERS_MAX; i++)
        words[i] = "-lmsp://a:1";
    line_parse(&line, words);
    assert_int_equal(line.rc, 0);
    assert_int_equal(line.args.config.listen_count, CONFIG_LISTENERS_MAX);
    line_fini(&line);
    words[CONFIG_LISTENERS_MAX] = "-lmsp://a:1";
    line_parse(&line, words);
    assert_int_equal(line.rc, -1);
    assert_string_equal(line.error, "-l: given more than 64 times");
    line_fini(&line);
    for (size_t i = 0; i < 129; i++)
        words[i] = "-osync=no";
    line_parse(&line, words);
    assert_int_equal(line.rc, -1);
    assert_string_equal(line.error, "-o: given more than 128 times");
    line_fini(&line);
}

static char *
help_text(void)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);

    assert_non_null(out);
    args_help(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void
the_help_names_every_option_with_its_default(void **state)
{
    char *text = help_text(), wanted[128];

    (void)state;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        snprintf(wanted, sizeof(wanted), " %s=%s ", config_options[i].name,
                 config_options[i].initial);
        if (strstr(text, wanted) == NULL)
            fail_msg("the help lacks \"%s\"", wanted);
    }
    assert_non_null(strstr(text, "msockd -w 8\n"));
    free(text);
}

static void
the_help_names_every_handler(void **state)
{
    char *text = help_text(), *line = strstr(text, "\nHandlers: ");

    (void)state;
    assert_non_null(line);
    line[1 + strcspn(line + 1, "\n")] = '\0';
    for (size_t i = 0; i < CONFIG_HANDLER_COUNT; i++)
        assert_non_null(strstr(line, config_handlers[i].name));
    free(text);
}

static void
the_help_fits_a_terminal_of_a_hundred_columns(void **state)
{
    char *text = help_text();

    (void)state;
    for (const char *s = text; *s != '\0'; s += strcspn(s, "\n") + 1)
        assert_in_range(strcspn(s, "\n"), 0, 92);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_words_mean_run_with_defaults),
        cmocka_unit_test(short_and_long_options_say_the_same),
        cmocka_unit_test(the_first_of_help_version_and_test_stands),
        cmocka_unit_test(what_is_wrong_is_said_in_one_sentence),
        cmocka_unit_test(repeatable_options_have_an_end),
        cmocka_unit_test(the_help_names_every_option_with_its_default),
        cmocka_unit_test(the_help_names_every_handler),
        cmocka_unit_test(the_help_fits_a_terminal_of_a_hundred_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

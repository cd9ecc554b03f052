/* The defaults: what nothing means, and that the sample file and the manual page show the same. */
#include "config_fixture.h"

#include "common/fd.h"
#include "config/config_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOURCE_MAX (1 << 20)

static void
assert_default_limits(const struct proto_limits *l)
{
    assert_int_equal(l->max_message_size, 4294967295);
    assert_int_equal(l->timeout_us, 2000000);
    assert_int_equal(l->idle_timeout_us, 60000000);
    assert_int_equal(l->min_rate, 1024);
    assert_int_equal(l->rate_grace_us, 10000000);
    assert_int_equal(l->packet_size, 2048);
    assert_int_equal(l->packet_size_max, 1 << 20);
    assert_int_equal(l->nack_limit, 10);
    assert_int_equal(l->reread_limit, 10);
    assert_int_equal(l->max_json_depth, 512);
    assert_int_equal(l->max_json_size, 16 << 20);
}

static void
assert_default_numbers(const struct config *c)
{
    assert_in_range(c->workers, 1, CONFIG_WORKERS_MAX);
    assert_int_equal(c->uid, geteuid());
    assert_int_equal(c->gid, getegid());
    assert_false(c->daemonize);
    assert_int_equal(c->log_level, LOG_LEVEL_NOTICE);
    assert_int_equal(c->max_connections, 16384);
    assert_int_equal(c->source_connections, 4096);
    assert_int_equal(c->exempt.count, 3);
    assert_int_equal(c->drain_timeout_us, 30000000);
    assert_int_equal(c->ready_timeout_us, 10000000);
    assert_int_equal(c->memory_message_max, 256 << 10);
    assert_int_equal(c->worker_memory_max, 64 << 20);
    assert_int_equal(c->on_conflict, ON_CONFLICT_KEEP);
    assert_int_equal(c->inline_max, 64 << 10);
    assert_int_equal(c->segment_size, 64 << 20);
    assert_int_equal(c->segment_age_us, 3600000000);
    assert_true(c->sync);
}

/* Everything but config_file. */
static void
assert_defaults(const struct config *c)
{
    const struct listener_config *l = &c->listeners[0];

    assert_default_numbers(c);
    assert_in_directory(c->data_dir, "msockd-data");
    assert_int_equal(c->runtime_dir[0], '/');
    assert_null(c->user);
    assert_null(c->group);
    assert_null(c->log_file);
    assert_int_equal(c->listener_count, 1);
    assert_string_equal(l->url, "auto://127.0.0.1:8000");
    assert_string_equal(l->name, "auto://127.0.0.1:8000");
    assert_string_equal(l->proto, "auto");
    assert_string_equal(l->handler, "journal");
    assert_int_equal(l->number[OPTION_BACKLOG], 1024);
    assert_int_equal(l->number[OPTION_MODE], 0660);
    assert_default_limits(&l->limits);
}

static void
nothing_given_means_the_defaults(void **state)
{
    const struct config_args args = {0};
    struct config *c = build(&args);

    (void)state;
    assert_defaults(c);
    assert_null(c->config_file);
    config_destroy(c);
    config_destroy(NULL);
}

/* A file of the source tree, as text; the caller frees. */
static char *
read_source(const char *name)
{
    const char *source = getenv("MSOCK_SOURCE");
    char path[512], *text;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", source == NULL ? "." : source, name);
    if (fd_read_file(path, SOURCE_MAX, &text, &n) < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return text;
}

static void
the_sample_file_shows_every_option_with_its_default(void **state)
{
    char *text = read_source("etc/msockd.conf"), wanted[128];

    (void)state;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *o = &config_options[i];
        bool quoted = o->initial[0] == '\0' || strchr(o->initial, ',') != NULL;

        if (o->scope == OPTION_IN_URL)
            snprintf(wanted, sizeof(wanted), "\n#   %s ", o->name);
        else if (o->type == OPTION_TYPE_LIST)
            snprintf(wanted, sizeof(wanted), "\n#%s = { \"%s\" }\n", o->name, o->initial);
        else
            snprintf(wanted, sizeof(wanted), "\n#%s = %s%s%s\n", o->name, quoted ? "\"" : "",
                     o->initial, quoted ? "\"" : "");
        if (strstr(text, wanted) == NULL)
            fail_msg("etc/msockd.conf lacks \"%s\"", wanted + 1);
    }
    free(text);
}

static void
the_sample_file_means_the_defaults_with_and_without_its_comments(void **state)
{
    char *text = read_source("etc/msockd.conf");
    struct config *c = build_file(text);

    (void)state;
    assert_defaults(c);
    config_destroy(c);
    for (char *s = text; *s != '\0'; s += strcspn(s, "\n"), s += *s == '\n')
        if (s[0] == '#' && s[1] >= 'a' && s[1] <= 'z')
            *s = ' ';
    c = build_file(text);
    assert_defaults(c);
    config_destroy(c);
    free(text);
}

static void
check_manual_entry(const char *text, const struct config_option *o)
{
    const char *initial = o->initial[0] == '\0' ? "empty" : o->initial, *entry, *end, *found;
    char wanted[128];

    snprintf(wanted, sizeof(wanted), "\n.It Ic %s No = ", o->name);
    entry = strstr(text, wanted);
    if (entry == NULL) {
        fail_msg("docs/man/msockd.conf.5 lacks %s", o->name);
        return;
    }
    end = strstr(entry + 1, "\n.It ");
    /* A backslash stands as \e in a manual page. */
    snprintf(wanted, sizeof(wanted), "\nDefault: %s%s\n", initial[0] == '\\' ? "\\e" : "",
             initial + (initial[0] == '\\'));
    found = strstr(entry, wanted);
    if (found == NULL || (end != NULL && found > end))
        fail_msg("docs/man/msockd.conf.5 lacks the default of %s, %s", o->name, initial);
}

static void
the_manual_page_shows_every_option_with_its_default(void **state)
{
    char *text = read_source("docs/man/msockd.conf.5");

    (void)state;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        check_manual_entry(text, &config_options[i]);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_given_means_the_defaults),
        TEST(the_sample_file_shows_every_option_with_its_default),
        TEST(the_sample_file_means_the_defaults_with_and_without_its_comments),
        TEST(the_manual_page_shows_every_option_with_its_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

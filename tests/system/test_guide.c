/* What docs/guide.md tells people to type works as it stands, with other ports: the sections about
 * TLS and about several machines. */
#include "nats.h"

#include "run.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HIGHEST  3 /* the ports of a kind end with 1 to 3 */
#define GUIDE_MS 120000

/* The ports of the guide but for their last digit, in order, and ours. */
struct ports {
    const char *guide;
    char ours[16];
};

static bool
are_free(const char *tens)
{
    unsigned first = (unsigned)strtoul(tens, NULL, 10) * 10;

    for (unsigned i = 1; i <= HIGHEST; i++)
        if (!nats_port_is_free(first + i))
            return false;
    return true;
}

static bool
is_taken(const struct ports *ports, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(ports[k].ours, ports[i].ours) == 0)
            return true;
    return false;
}

static void
choose_ports(struct ports *ports, size_t count)
{
    for (size_t i = 0; i < count; i++)
        do
            snprintf(ports[i].ours, sizeof(ports[i].ours), "%u", nats_free_port() / 10);
        while (!are_free(ports[i].ours) || is_taken(ports, i));
}

/* Our ports in the place of the guide's: "422" is followed by a digit or by "$n" there. */
static void
append_line(FILE *out, const char *line, size_t n, const struct ports *ports, size_t count)
{
    for (size_t at = 0; at < n;) {
        size_t i = 0;

        while (i < count && strncmp(line + at, ports[i].guide, 3) != 0)
            i++;
        if (i < count && (line[at + 3] == '$' || isdigit((unsigned char)line[at + 3]))) {
            fputs(ports[i].ours, out);
            at += 3;
        } else {
            fputc(line[at++], out);
        }
    }
    fputc('\n', out);
}

/* Separates what is typed, behind "$ " or "> ", from what is shown. */
static void
read_section(const char *title, char **typed_out, char **shown_out)
{
    struct ports ports[] = {{.guide = "422"}, {.guide = "622"}, {.guide = "800"}};
    const size_t count = sizeof(ports) / sizeof(ports[0]);
    char *guide = harness_read_file(harness_source("docs/guide.md"), NULL);
    size_t typed_len, shown_len, n;
    FILE *typed = open_memstream(typed_out, &typed_len);
    FILE *shown = open_memstream(shown_out, &shown_len);
    const char *line = guide != NULL ? strstr(guide, title) : NULL;
    bool has_begun = false;

    assert_non_null(line);
    choose_ports(ports, count);
    for (line += strlen(title); *line != '\0' && strncmp(line, "## ", 3) != 0; line += n + 1) {
        n = strcspn(line, "\n");
        if (strncmp(line, "    $ ", 6) == 0 || strncmp(line, "    > ", 6) == 0)
            append_line(typed, line + 6, n - 6, ports, count);
        else if (has_begun && strncmp(line, "    ", 4) == 0)
            fprintf(shown, "%.*s\n", (int)n - 4, line + 4);
        has_begun |= strncmp(line, "    $ ", 6) == 0;
    }
    fclose(typed);
    fclose(shown);
    free(guide);
}

/* A number for each number: process ids differ. A receipt has no end of line of its own. */
static char *
comparable(const char *text)
{
    char *out = calloc(1, strlen(text) + 1), *at = out;

    assert_non_null(out);
    for (; *text != '\0'; text++)
        if (isdigit((unsigned char)*text) && (at == out || at[-1] != '0'))
            *at++ = '0';
        else if (!isdigit((unsigned char)*text) && *text != '\n')
            *at++ = *text;
    return out;
}

static void
link_to_source(const char *dir, const char *name)
{
    char path[HARNESS_PATH_LEN];

    harness_join(path, dir, name);
    assert_int_equal(symlink(harness_source(name), path), 0);
}

/* Returns its status, or -1 where it shows something else. */
static int
type_section_once(const char *title)
{
    static const char with_build[] = "PATH=$MSOCK_BUILD:$PATH; eval \"$0\"";
    char dir[HARNESS_PATH_LEN], *typed, *shown, *wanted, *got;
    struct run_result result;
    struct running r;
    int status;

    harness_directory(dir);
    link_to_source(dir, "examples");
    read_section(title, &typed, &shown);
    run_start(&r, (const char *const[]){"/bin/bash", "-e", "-c", with_build, typed, NULL},
              &(struct run_options){.cwd = dir});
    run_finish(&r, GUIDE_MS, &result);
    wanted = comparable(shown);
    got = comparable(result.out);
    status = result.status == 0 && strcmp(wanted, got) != 0 ? -1 : result.status;
    if (status != 0) /* longer than what fail_msg shows */
        fprintf(stderr, "-- typed:\n%s\n-- shown:\n%s\n-- wanted:\n%s\n-- said:\n%s\n", typed,
                result.out, shown, result.err);
    free(wanted);
    free(got);
    free(typed);
    free(shown);
    run_result_free(&result);
    return status;
}

/* Another program may take one of its ports between the choice and the use. */
static void
type_section(const char *title)
{
    int status = type_section_once(title);

    if (status != 0)
        status = type_section_once(title);
    if (status != 0)
        fail_msg("the section ends with status %d", status);
}

static void
the_section_about_tls_works_as_it_stands(void **state)
{
    (void)state;
    type_section("\n## Across a network that is not trusted\n");
}

static void
the_section_about_several_machines_works_as_it_stands(void **state)
{
    (void)state;
    nats_need();
    type_section("\n## When one machine is not enough\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_section_about_tls_works_as_it_stands),
        SYSTEM_TEST(the_section_about_several_machines_works_as_it_stands),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

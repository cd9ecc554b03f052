/* msockctl explain: what a kind of line in the log means. It knows its own version's kinds, and
 * asks no msockd. */
#include "ctl.h"

#include "common/log.h"

#include <string.h>
#include <strings.h>
#include <sysexits.h>

static const struct kind {
    const char *id;
    enum log_level level;
    const char *message_id, *means, *remedy;
} kinds[] = {
#define X(name, level, message_id, means, remedy) \
    {#name, LOG_LEVEL_##level, message_id, means, remedy},
    LOG_KINDS(X)
#undef X
};

/* NULL: all of them. */
static json_t *
kinds_json(const char *wanted)
{
    json_t *list = json_array();

    for (size_t i = 0; i < MS_ARRAY_LEN(kinds); i++) {
        const struct kind *k = &kinds[i];

        if (wanted != NULL && strcmp(wanted, k->id) != 0 && strcasecmp(wanted, k->message_id) != 0)
            continue;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", k->id, "level",
                                              log_level_name(k->level), "message_id", k->message_id,
                                              "means", k->means, "do", k->remedy));
    }
    return list;
}

static void
kind_print(const json_t *row)
{
    const char *id, *level, *message_id, *means, *remedy;

    if (json_unpack((json_t *)(uintptr_t)row, "{s:s, s:s, s:s, s:s, s:s}", "id", &id, "level",
                    &level, "message_id", &message_id, "means", &means, "do", &remedy) == 0)
        printf("%s (%s, MESSAGE_ID=%s)\n\n%s\n\nWhat to do: %s\n", id, level, message_id, means,
               remedy);
}

static const struct column kind_columns[] = {
    {"id", NULL, COLUMN_TEXT},
    {"level", NULL, COLUMN_TEXT},
    {"means", NULL, COLUMN_TEXT},
};

static int
explain_run(struct ctl *ctl, int argc, char *argv[])
{
    const char *id = NULL;
    bool json = false;
    const struct ctl_option options[] = {{"json", &json, NULL}, {CTL_OPERAND, NULL, &id}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    json_t *list;

    if (status != CTL_GO_ON)
        return status;
    list = kinds_json(id);
    if (json_array_size(list) == 0) {
        json_decref(list);
        return ctl_usage(ctl, "there is no line of log with the id \"%s\"", id);
    }
    if (json) {
        json_print(list, false);
        return ctl_finish(ctl, EX_OK);
    }
    if (id != NULL)
        kind_print(json_array_get(list, 0));
    else
        table_print(list, kind_columns, MS_ARRAY_LEN(kind_columns));
    json_decref(list);
    return ctl_finish(ctl, EX_OK);
}

const struct ctl_command ctl_explain_line = {
    .name = "explain",
    .summary = "what a kind of line in the log means, and what to do",
    .help =
        "usage: msockctl explain [--json] [ID]\n"
        "What the lines in the log of this version mean. ID is the word in brackets at the end\n"
        "of a line, or the MESSAGE_ID that the journal of systemd has for it; without one, all\n"
        "of them are listed.\n\n"
        "  --json  an array of objects: id, level, message_id, means, do\n",
    .run = explain_run,
};

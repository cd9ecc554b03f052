/* What the subcommands say, and their options: one table a command says what they are; getopt_long
 * and what is said of a wrong value follow from it. */
#include "command.h"

#include "common/text.h"

#include <ctype.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define OPTIONS_MAX  40
#define OPTION_FIRST 256 /* what getopt_long returns for the first row */

size_t
say_harmless(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t len = text_utf8_length(text, n);

    if (len == 1 && (p[0] < ' ' || p[0] == 0x7f))
        return 0;
    if (len == 2 && p[0] == 0xc2 && p[1] < 0xa0)
        return 0; /* U+0080 to U+009F */
    if (len == 3 && p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae)
        return 0; /* U+202A to U+202E */
    if (len == 3 && p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9)
        return 0; /* U+2066 to U+2069 */
    return len;
}

void
say_clean_bytes(const char *text, size_t len, char *out)
{
    for (size_t i = 0; i < len;) {
        size_t n = say_harmless(text + i, len - i);

        if (n == 0) {
            out[i++] = '?';
            continue;
        }
        memcpy(out + i, text + i, n);
        i += n;
    }
    out[len] = '\0';
}

void
say_clean(const char *text, char *out, size_t n)
{
    if (n > 0)
        say_clean_bytes(text, strnlen(text, n - 1), out);
}

void
say_error(const char *format, ...)
{
    char text[3072], clean[3072];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    say_clean(text, clean, sizeof(clean));
    fflush(stdout);
    fprintf(stderr, "msock: %s\n", clean);
}

int
say_usage(const char *command)
{
    say_error("see `msock %s --help`", command);
    return EX_USAGE;
}

/* --- options --- */

static bool
option_has_value(const struct option_row *row)
{
    return row->kind != OPTION_FLAG && row->kind != OPTION_SET;
}

static bool
option_number(const struct option_row *row, const char *text, uint64_t *out)
{
    return text_parse_size(text, out) == 0 && (double)*out >= row->low && (double)*out <= row->high;
}

static bool
option_seconds(const struct option_row *row, const char *text)
{
    char *end;
    double value;

    if (!isdigit((unsigned char)*text) && *text != '.')
        return false;
    value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value < row->low || value > row->high)
        return false;
    *(double *)row->value = value;
    return true;
}

/* False where the value is wrong. */
static bool
option_take(const struct option_row *row, const char *text)
{
    struct option_list *list = row->value;
    uint64_t number;

    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)row->value = true;
        return true;
    case OPTION_SET:
        *(int *)row->value = (int)row->low;
        return true;
    case OPTION_SWITCH:
        *(bool *)row->value = strcmp(text, "on") == 0;
        return strcmp(text, "on") == 0 || strcmp(text, "off") == 0;
    case OPTION_TEXT:
        *(const char **)row->value = text;
        return true;
    case OPTION_LIST:
        if (list->count < OPTION_LIST_MAX)
            list->items[list->count++] = text;
        else
            return false;
        return true;
    case OPTION_COUNT:
        if (!option_number(row, text, &number))
            return false;
        *(uint32_t *)row->value = (uint32_t)number;
        return true;
    case OPTION_NUMBER:
        if (!option_number(row, text, &number))
            return false;
        *(uint64_t *)row->value = number;
        return true;
    case OPTION_SECONDS:
        return option_seconds(row, text);
    }
    return false;
}

static void
option_wrong(const struct option_row *row, const char *text)
{
    if (row->kind == OPTION_LIST)
        say_error("more than %d %s", OPTION_LIST_MAX, row->wants);
    else if (row->wants != NULL)
        say_error("--%s wants %s, not '%s'", row->name, row->wants, text);
    else if (row->kind == OPTION_SWITCH)
        say_error("--%s wants on or off, not '%s'", row->name, text);
    else if (row->kind == OPTION_SECONDS)
        say_error("--%s wants seconds, such as 0.5 or 10, not '%s'", row->name, text);
    else
        say_error("--%s wants a number from %.0f to %.0f, not '%s'", row->name, row->low, row->high,
                  text);
}

/* The two forms in which getopt_long wants the rows. */
static void
options_prepare(const struct option_row *rows, size_t n, struct option *longs, char *letters)
{
    for (size_t i = 0; i < n; i++) {
        *longs++ = (struct option){.name = rows[i].name,
                                   .has_arg = option_has_value(&rows[i]),
                                   .val = OPTION_FIRST + (int)i};
        if (rows[i].letter == 0)
            continue;
        *letters++ = rows[i].letter;
        if (option_has_value(&rows[i]))
            *letters++ = ':';
    }
    *longs++ = (struct option){.name = "help", .val = 'h'};
    *longs = (struct option){.name = NULL};
    strcpy(letters, "h");
}

static const struct option_row *
option_find(const struct option_row *rows, size_t n, int c)
{
    for (size_t i = 0; i < n; i++)
        if (c == OPTION_FIRST + (int)i || c == rows[i].letter)
            return &rows[i];
    return NULL;
}

int
options_read(int argc, char **argv, const char *command, const char *help,
             const struct option_row *rows, size_t n)
{
    struct option longs[OPTIONS_MAX + 2];
    char letters[2 * OPTIONS_MAX + 2];
    const struct option_row *row;
    int c;

    MS_ASSERT(n <= OPTIONS_MAX);
    options_prepare(rows, n, longs, letters);
    while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (c == 'h') {
            fputs(help, stdout);
            return EX_OK;
        }
        row = option_find(rows, n, c);
        if (row == NULL)
            return say_usage(command);
        if (!option_take(row, optarg)) {
            option_wrong(row, optarg);
            return say_usage(command);
        }
    }
    return OPTIONS_GO_ON;
}

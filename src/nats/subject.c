/* Subjects and values of headers. Invariant: whatever bytes a sender puts into an id, a value is
 * never more than a part of one token, and two different values never become the same. */
#include "nats/publisher.h"

#include "common/text.h"

#include <stdio.h>

struct subject_field {
    const char *name;
    size_t len;
};

#define FIELD(name)                            \
    {                                          \
        "{" name "}", sizeof("{" name "}") - 1 \
    }

/* In the order of subject_value. */
static const struct subject_field fields[] = {FIELD("listener"), FIELD("kind"), FIELD("proto"),
                                              FIELD("id"), FIELD("identity")};

/* The field at the beginning of text: its index, or -1. */
static int
subject_field_at(const char *text)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(fields); i++)
        if (strncmp(text, fields[i].name, fields[i].len) == 0)
            return (int)i;
    return -1;
}

static void
subject_value(const struct subject_values *v, int field, const char **text_out, size_t *n_out)
{
    const char *const texts[] = {v->listener, v->kind, v->proto, v->id, v->identity};

    *text_out = texts[field];
    *n_out = field == 3 ? v->id_len : strlen(texts[field]);
}

const char *
subject_check(const char *template)
{
    bool empty = true;

    if (strlen(template) > SUBJECT_MAX / 2)
        return "it is too long";
    for (const char *c = template; *c != '\0'; c++) {
        int field = *c == '{' ? subject_field_at(c) : -1;

        if (*c == '{' && field < 0)
            return "expected {listener}, {kind}, {proto}, {id} or {identity} in braces";
        if (*c <= ' ' || *c > '~' || *c == '*' || *c == '>' || *c == '}')
            return "a subject has printable ASCII without spaces, '*' and '>'";
        if (*c == '.' && empty)
            break;
        empty = *c == '.';
        if (field >= 0)
            c += fields[field].len - 1;
    }
    if (empty)
        return "a part between two dots, or at an end, is empty";
    return template[0] == '$' || strncmp(template, "_INBOX.", 7) == 0
               ? "it is one of the servers' own"
               : NULL;
}

/* --- formatting --- */

struct subject_out {
    char *at;
    size_t left; /* with room for a NUL */
};

static bool
subject_put(struct subject_out *out, const char *text, size_t n)
{
    if (n >= out->left)
        return false;
    memcpy(out->at, text, n);
    out->at += n;
    out->left -= n;
    *out->at = '\0';
    return true;
}

static bool
subject_is_plain(char c)
{
    return text_is_alnum(c) || (c > ' ' && c <= '~' && strchr(".*>%$", c) == NULL);
}

static bool
subject_put_hex(struct subject_out *out, char c)
{
    char hex[4];

    snprintf(hex, sizeof(hex), "%%%02X", (unsigned char)c);
    return subject_put(out, hex, 3);
}

static bool
subject_put_escaped(struct subject_out *out, const char *text, size_t n)
{
    if (n == 0)
        return subject_put(out, "-", 1);
    if (n == 1 && text[0] == '-')
        return subject_put(out, "%2D", 3);
    for (size_t i = 0; i < n; i++)
        if (!(subject_is_plain(text[i]) ? subject_put(out, &text[i], 1)
                                        : subject_put_hex(out, text[i])))
            return false;
    return true;
}

int
subject_format(const char *template, const struct subject_values *values, char out[SUBJECT_MAX])
{
    struct subject_out to = {.at = out, .left = SUBJECT_MAX};
    bool fits = true;

    for (const char *c = template; *c != '\0' && fits; c++) {
        int field = *c == '{' ? subject_field_at(c) : -1;
        const char *text = c;
        size_t n = 1;

        if (field < 0) {
            fits = subject_put(&to, text, n);
            continue;
        }
        subject_value(values, field, &text, &n);
        fits = subject_put_escaped(&to, text, n);
        c += fields[field].len - 1;
    }
    return fits ? 0 : -1;
}

void
subject_wildcard(const char *template, char out[SUBJECT_MAX])
{
    struct subject_out to = {.at = out, .left = SUBJECT_MAX};

    for (const char *c = template; *c != '\0';) {
        size_t n = strcspn(c, ".");
        bool varies = memchr(c, '{', n) != NULL;

        MS_ASSERT(subject_put(&to, varies ? "*" : c, varies ? 1 : n));
        c += n;
        if (*c == '.')
            MS_ASSERT(subject_put(&to, c++, 1));
    }
}

bool
subject_covers(const char *pattern, const char *subject)
{
    for (;;) {
        size_t p = strcspn(pattern, "."), s = strcspn(subject, ".");
        bool many = s == 1 && subject[0] == '>';

        if (p == 1 && pattern[0] == '>')
            return s > 0;
        if (many ||
            (!(p == 1 && pattern[0] == '*') && (p != s || strncmp(pattern, subject, p) != 0)))
            return false;
        pattern += p;
        subject += s;
        if (*pattern == '\0' || *subject == '\0')
            return *pattern == *subject;
        pattern++;
        subject++;
    }
}

void
header_escape(struct buffer *out, const void *data, size_t n)
{
    const char *text = data;

    size_t plain = 0; /* bytes before i that stand as they are */

    for (size_t i = 0; i < n; i++) {
        bool end = text[i] == ' ' && (i == 0 || i == n - 1);

        if (text[i] >= ' ' && text[i] <= '~' && text[i] != '%' && !end) {
            plain++;
            continue;
        }
        buffer_append(out, &text[i - plain], plain);
        buffer_printf(out, "%%%02X", (unsigned char)text[i]);
        plain = 0;
    }
    buffer_append(out, &text[n - plain], plain);
}

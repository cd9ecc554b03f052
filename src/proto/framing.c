/* Reads the framing of a URL. Invariant: a framing is written only when it is whole and within
 * its limits. */
#include "proto/limits.h"

#include "common/text.h"

#include <stdio.h>

static int
framing_fail(char reason[FRAMING_REASON_LEN], const char *text)
{
    snprintf(reason, FRAMING_REASON_LEN, "%s", text);
    return -1;
}

static int
hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at;

    if (c >= 'A' && c <= 'F')
        c = (char)(c - 'A' + 'a');
    at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

/* As escape_read: one to three digits. */
static size_t
octal_read(const char *at, uint8_t *byte_out)
{
    unsigned value = 0;
    size_t n = 0;

    for (; n < 3 && at[n] >= '0' && at[n] <= '7'; n++)
        value = value * 8 + (unsigned)(at[n] - '0');
    if (value > UINT8_MAX)
        return 0;
    *byte_out = (uint8_t)value;
    return n;
}

/* Reads the escape behind a backslash. Returns the number of bytes used, and the byte, or 0. */
static size_t
escape_read(const char *at, uint8_t *byte_out)
{
    static const char letters[] = "abfnrtv\\'\"", bytes[] = "\a\b\f\n\r\t\v\\'\"";
    const char *letter;

    if (at[0] == 'x') {
        if (hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0)
            return 0;
        *byte_out = (uint8_t)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
        return 3;
    }
    if (at[0] >= '0' && at[0] <= '7')
        return octal_read(at, byte_out);
    letter = at[0] == '\0' ? NULL : strchr(letters, at[0]);
    if (letter == NULL)
        return 0;
    *byte_out = (uint8_t)bytes[letter - letters];
    return 1;
}

/* text ends with a NUL, which is not one of its n bytes. */
static int
framing_delimiter(const char *text, size_t n, struct framing *f, char reason[FRAMING_REASON_LEN])
{
    static const char length[] = "a delimiter has 1 to 32 bytes";
    const char *end = text + n;

    f->kind = FRAMING_DELIMITER;
    f->delimiter_len = 0;
    while (text < end) {
        uint8_t byte = (uint8_t)*text++;

        if (byte == '\\') {
            size_t used = escape_read(text, &byte);

            if (used == 0)
                return framing_fail(reason, "a delimiter has escapes as in C: \\n, \\r, \\t, \\0,"
                                            " \\\\ or \\x and two hex digits");
            text += used;
        }
        if (f->delimiter_len == FRAMING_DELIMITER_MAX)
            return framing_fail(reason, length);
        f->delimiter[f->delimiter_len++] = byte;
    }
    if (f->delimiter_len == 0)
        return framing_fail(reason, length);
    f->drop_cr = f->delimiter_len == 1 && f->delimiter[0] == '\n';
    return 0;
}

static int
framing_fixed(const char *text, uint64_t max_message_size, struct framing *f,
              char reason[FRAMING_REASON_LEN])
{
    uint64_t most = max_message_size < UINT32_MAX ? max_message_size : UINT32_MAX, n;

    if (text_parse_size(text, &n) < 0 || n < 1 || n > most)
        return framing_fail(reason, "fixed:N has an N from 1 to max_message_size");
    f->fixed_len = (uint32_t)n;
    return 0;
}

static int
framing_kind(const struct url_option *framing, const struct url_option *delimiter,
             uint64_t max_message_size, struct framing *f, char reason[FRAMING_REASON_LEN])
{
    static const char prefix[] = "delimiter:";
    const size_t n = sizeof(prefix) - 1;
    const char *name = framing != NULL ? framing->value : "length32";

    if (strncmp(name, prefix, n) == 0)
        return framing_delimiter(framing->value + n, framing->len - n, f, reason);
    if (framing != NULL && strlen(name) != framing->len)
        name = ""; /* a NUL, and no delimiter */
    if (strcmp(name, "delimiter") == 0)
        return delimiter != NULL ? framing_delimiter(delimiter->value, delimiter->len, f, reason)
                                 : framing_delimiter("\n", 1, f, reason);
    if (strncmp(name, "fixed:", 6) == 0) {
        f->kind = FRAMING_FIXED;
        return framing_fixed(name + 6, max_message_size, f, reason);
    }
    f->kind = strcmp(name, "eof") == 0 ? FRAMING_EOF : FRAMING_LENGTH32;
    if (f->kind == FRAMING_LENGTH32 && strcmp(name, "length32") != 0)
        return framing_fail(reason, "expected length32, fixed:N, delimiter, delimiter:X or eof");
    return 0;
}

int
framing_parse(const struct url *url, uint64_t max_message_size, struct framing *framing_out,
              char reason[FRAMING_REASON_LEN])
{
    const struct url_option *framing = url_option_find(url, "framing");
    const struct url_option *delimiter = url_option_find(url, "delimiter");
    const char *unterminated = url_option(url, "unterminated");
    struct framing f = {.kind = FRAMING_LENGTH32};

    if (delimiter != NULL && (framing == NULL || strcmp(framing->value, "delimiter") != 0))
        return framing_fail(reason, "delimiter is for framing=delimiter only");
    if (framing_kind(framing, delimiter, max_message_size, &f, reason) < 0)
        return -1;
    if (unterminated != NULL && f.kind != FRAMING_DELIMITER)
        return framing_fail(reason, "unterminated is for framing=delimiter only");
    f.keep_unterminated = unterminated != NULL && strcmp(unterminated, "keep") == 0;
    *framing_out = f;
    return 0;
}

bool
framing_forbids_nul(const struct url_option *option)
{
    return strlen(option->value) != option->len && strcmp(option->name, "framing") != 0 &&
           strcmp(option->name, "delimiter") != 0;
}

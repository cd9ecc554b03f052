#include "config/framing.h"

#include "common/text.h"

#include <stdio.h>
#include <string.h>

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

/* What stands behind a backslash: returns the bytes used and the byte, or 0. */
static size_t
escape_read(const char *at, uint8_t *byte_out)
{
    static const char letters[] = "abfnrtv\\0'\"", bytes[] = "\a\b\f\n\r\t\v\\\0'\"";
    const char *letter;

    if (at[0] == 'x') {
        if (hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0)
            return 0;
        *byte_out = (uint8_t)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
        return 3;
    }
    letter = at[0] == '\0' ? NULL : strchr(letters, at[0]);
    if (letter == NULL)
        return 0;
    *byte_out = (uint8_t)bytes[letter - letters];
    return 1;
}

static int
framing_delimiter(const char *text, struct framing *f, char reason[FRAMING_REASON_LEN])
{
    f->delimiter_len = 0;
    while (*text != '\0') {
        uint8_t byte = (uint8_t)*text++;

        if (byte == '\\') {
            size_t used = escape_read(text, &byte);

            if (used == 0)
                return framing_fail(reason, "a delimiter has escapes as in C: \\n, \\r, \\t, \\0,"
                                            " \\\\ or \\x and two hex digits");
            text += used;
        }
        if (f->delimiter_len == FRAMING_DELIMITER_MAX)
            return framing_fail(reason, "a delimiter has 1 to 8 bytes");
        f->delimiter[f->delimiter_len++] = byte;
    }
    if (f->delimiter_len == 0)
        return framing_fail(reason, "a delimiter has 1 to 8 bytes");
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

int
framing_parse(const char *framing, const char *delimiter, uint64_t max_message_size,
              struct framing *framing_out, char reason[FRAMING_REASON_LEN])
{
    struct framing f = {.kind = FRAMING_LENGTH32};
    int rc = 0;

    if (framing == NULL || strcmp(framing, "length32") == 0) {
        f.kind = FRAMING_LENGTH32;
    } else if (strncmp(framing, "fixed:", 6) == 0) {
        f.kind = FRAMING_FIXED;
        rc = framing_fixed(framing + 6, max_message_size, &f, reason);
    } else if (strcmp(framing, "delimiter") == 0) {
        f.kind = FRAMING_DELIMITER;
        rc = framing_delimiter(delimiter != NULL ? delimiter : "\n", &f, reason);
    } else if (strncmp(framing, "delimiter:", 10) == 0) {
        f.kind = FRAMING_DELIMITER;
        rc = framing_delimiter(framing + 10, &f, reason);
    } else if (strcmp(framing, "eof") == 0) {
        f.kind = FRAMING_EOF;
    } else {
        return framing_fail(reason, "expected length32, fixed:N, delimiter, delimiter:X or eof");
    }
    if (rc == 0)
        *framing_out = f;
    return rc;
}

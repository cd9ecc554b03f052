/* Is this JSON? The recogniser (json_plain.h) knows. Of what it does not take jansson says what is
 * wrong and where, after the nesting and the number of values were bounded; perhaps on a masked
 * copy (json_mask.h) of a document with integers or keys that it cannot represent. */
#include "proto/json_check.h"

#include "proto/json_mask.h"
#include "proto/json_plain.h"

#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define JSON_CHECK_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)
#define JSON_COUNT_BLOCK 64
#define JSON_PARSE_MARKS 500000 /* brackets and commas: jansson needs up to 190 bytes for each */
#define JSON_TRIM_SIZE   (256 << 10)

/* Counts [ and {, which differ in one bit: an upper bound of the nesting; and commas: together one
 * of the values. In blocks of a size that the compiler knows, so that it uses vectors, with a sum
 * that fits into a byte. */
static size_t
json_count_marks(const char *text, size_t n)
{
    size_t count = 0, i = 0;

    for (; n - i >= JSON_COUNT_BLOCK; i += JSON_COUNT_BLOCK) {
        uint8_t sum = 0;

        for (size_t k = 0; k < JSON_COUNT_BLOCK; k++)
            sum += ((text[i + k] | 0x20) == '{') + (text[i + k] == ',');
        count += sum;
    }
    for (; i < n; i++)
        count += ((text[i] | 0x20) == '{') + (text[i] == ',');
    return count;
}

static void
json_fail(char error[JSON_ERROR_LEN], int line, int column, const char *reason)
{
    snprintf(error, JSON_ERROR_LEN, "line %d column %d: %s", line > 0 ? line : 1,
             column > 0 ? column : 1, reason);
}

/* The same for a place in the text. Lines and columns count as jansson's do: characters. */
static void
json_fail_at(char error[JSON_ERROR_LEN], const char *text, size_t offset, const char *reason)
{
    int line = 1, column = 1;

    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if ((text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    json_fail(error, line, column, reason);
}

/* The offset of the bracket, outside of strings, that nests deeper than max_depth; n where none
 * does. */
static size_t
json_find_too_deep(const char *text, size_t n, unsigned max_depth)
{
    unsigned depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        char c = text[i];

        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\';
        else if ((c == '[' || c == '{') && ++depth > max_depth)
            return i;
        else if ((c == ']' || c == '}') && depth > 0)
            depth--;
    }
    return n;
}

static bool
json_check_depth(const char *text, size_t n, unsigned max_depth, char error[JSON_ERROR_LEN])
{
    char reason[64];
    size_t offset;

    if (n <= max_depth || json_count_marks(text, n) <= max_depth)
        return true;
    offset = json_find_too_deep(text, n, max_depth);
    if (offset >= n)
        return true;
    snprintf(reason, sizeof(reason), "nested deeper than %u levels", max_depth);
    json_fail_at(error, text, offset, reason);
    return false;
}

/* jansson takes a NUL byte between two tokens for the end of the text and reads no further. */
static bool
json_check_nul(const char *text, size_t n, char error[JSON_ERROR_LEN])
{
    const char *nul = memchr(text, '\0', n);

    if (nul == NULL)
        return true;
    json_fail_at(error, text, (size_t)(nul - text), "a NUL byte");
    return false;
}

static bool
json_parse(const char *text, size_t n, json_error_t *error)
{
    json_t *value = json_loadb(text, n, JSON_CHECK_FLAGS, error);
    bool ok = value != NULL;

    json_decref(value);
    return ok;
}

/* The second half of json_parse_masked: each mask at most once, in the order in which jansson meets
 * what needs it. */
static bool
json_parse_copy(char *copy, size_t n, json_error_t *error)
{
    bool integers = false, nul = false;

    for (;;) {
        enum json_error_code code = json_error_code(error);

        if (code == json_error_numeric_overflow && !integers) {
            json_mask_integers(copy, n);
            integers = true;
        } else if (code == json_error_null_byte_in_key && !nul) {
            if (!json_mask_nul(copy, n))
                return false;
            nul = true;
        } else {
            return false;
        }
        if (json_parse(copy, n, error))
            return true;
    }
}

/* Takes what stood in for the document's own bytes out of the text. */
static void
json_cut_near(json_error_t *error)
{
    char *near = strstr(error->text, " near '");

    if (near != NULL)
        *near = '\0';
}

static bool
json_parse_masked(const char *text, size_t n, json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    char *copy;
    bool ok;

    if (code != json_error_numeric_overflow && code != json_error_null_byte_in_key)
        return false;
    copy = malloc(n);
    if (copy == NULL)
        return false;
    memcpy(copy, text, n);
    ok = json_parse_copy(copy, n, error);
    if (!ok && memcmp(copy, text, n) != 0)
        json_cut_near(error);
    free(copy);
    return ok;
}

static bool
json_judge(const char *text, size_t n, char error[JSON_ERROR_LEN])
{
    json_error_t why;
    bool ok = json_parse(text, n, &why) || json_parse_masked(text, n, &why);

    if (n >= JSON_TRIM_SIZE)
        malloc_trim(0);
    if (ok)
        return json_check_nul(text, n, error);
    json_fail(error, why.line, why.column, why.text);
    return false;
}

bool
json_check(const char *text, size_t n, unsigned max_depth, char error[JSON_ERROR_LEN])
{
    struct json_stop stop;

    if (max_depth > JSON_DEPTH_MAX_LIMIT)
        max_depth = JSON_DEPTH_MAX_LIMIT;
    if (json_is_plain(text, n, max_depth, &stop))
        return true;
    if (n == 0) {
        json_fail(error, 1, 1, "the document is empty");
        return false;
    }
    if (!json_check_depth(text, n, max_depth, error))
        return false;
    if (json_count_marks(text, n) <= JSON_PARSE_MARKS)
        return json_judge(text, n, error);
    json_fail_at(error, text, stop.offset, stop.why);
    return false;
}

void
json_seed(void)
{
    size_t seed = 0;

    /* 0 would let jansson choose for itself, from the time and the pid if need be. */
    while (seed == 0)
        MS_ASSERT(getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed));
    json_object_seed(seed);
}

/* The journal as a reader sees it. A JSON body is taken from the line's own text, not from
 * jansson's value, since what counts is the bytes as they were sent. */
#include "harness.h"

#include "journal.h"
#include "wire.h"

#include <dirent.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct reading {
    const char *data_dir;
    bool live;
    size_t cap;
    struct journal *journal;
};

static char *
member(const json_t *line, const char *name)
{
    const char *text = json_string_value(json_object_get(line, name));

    return strdup(text != NULL ? text : "");
}

static void
set_body(struct entry *e, const char *data, size_t n)
{
    e->body = calloc(1, n + 1);
    assert_non_null(e->body);
    memcpy(e->body, data, n);
    e->body_len = n;
}

static void
body_from_file(struct entry *e, const char *data_dir, const char *name)
{
    char path[HARNESS_PATH_LEN * 2];
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/%s", data_dir, name);
    e->body = harness_read_file(path, &n);
    e->body_len = e->body != NULL ? n : 0;
}

static void
body_from_base64(struct entry *e, const char *text)
{
    size_t n = strlen(text);
    unsigned char *out = calloc(1, n + 4);
    int got = EVP_DecodeBlock(out, (const unsigned char *)text, (int)n);

    if (got > 0 && n >= 2)
        got -= (text[n - 1] == '=') + (text[n - 2] == '=');
    if (got >= 0)
        set_body(e, (const char *)out, (size_t)got);
    free(out);
}

#define LINE_END     ",\"crc32\":\"01234567\"}"
#define LINE_END_LEN (sizeof(LINE_END) - 1)

/* The body is the last member of a line but for its CRC-32. */
static void
body_from_line(struct entry *e, const char *text, size_t n)
{
    const char *at = memmem(text, n, ",\"json\":", 8), *end = text + n - LINE_END_LEN;

    if (at != NULL && at + 8 <= end && memcmp(end, LINE_END, strlen(",\"crc32\":\"")) == 0)
        set_body(e, at + 8, (size_t)(end - (at + 8)));
}

/* The CRC-32 at the end of a line is that of the bytes before it. */
static bool
line_is_right(const char *text, size_t n)
{
    char said[9] = "";

    if (n < LINE_END_LEN)
        return false;
    memcpy(said, text + n - 10, 8);
    return strtoul(said, NULL, 16) == crc32(0, (const Bytef *)text, (uInt)(n - LINE_END_LEN));
}

static void
read_body(struct entry *e, const json_t *line, const char *text, size_t n, const char *data_dir)
{
    const json_t *plain = json_object_get(line, "text");
    const char *base64 = json_string_value(json_object_get(line, "base64"));

    if (e->file[0] != '\0')
        body_from_file(e, data_dir, e->file);
    else if (e->blob[0] != '\0')
        body_from_file(e, data_dir, e->blob);
    else if (plain != NULL)
        set_body(e, json_string_value(plain), json_string_length(plain));
    else if (base64 != NULL)
        body_from_base64(e, base64);
    else
        body_from_line(e, text, n);
}

static bool
body_is_sound(const struct entry *e)
{
    uint8_t digest[32];
    char hex[65];

    if (e->body == NULL || e->body_len != e->size)
        return false;
    wire_sha256(e->body, e->body_len, digest);
    wire_hex(digest, sizeof(digest), hex);
    return strcmp(hex, e->sha256) == 0;
}

static bool
complete(const struct entry *e, const json_t *line)
{
    return e->id[0] != '\0' && e->time[0] != '\0' && e->listener[0] != '\0' &&
           e->proto[0] != '\0' && e->peer[0] != '\0' && e->kind[0] != '\0' &&
           strlen(e->sha256) == 64 && json_is_integer(json_object_get(line, "size"));
}

static void
complain(struct reading *r, const char *text, size_t n)
{
    r->journal->bad_lines++;
    if (r->journal->complaint == NULL)
        r->journal->complaint = strndup(text, n);
}

static struct entry *
next_entry(struct reading *r)
{
    struct journal *j = r->journal;

    if (j->count == r->cap) {
        r->cap = r->cap > 0 ? r->cap * 2 : 1024;
        j->entries = realloc(j->entries, r->cap * sizeof(*j->entries));
        assert_non_null(j->entries);
    }
    memset(&j->entries[j->count], 0, sizeof(*j->entries));
    return &j->entries[j->count++];
}

/* jansson knows no NUL in a name, which is JSON all the same: another character stands in for
 * it. */
static json_t *
parse_line(const char *text, size_t n, size_t flags)
{
    char *copy = strndup(text, n);
    json_t *line;

    assert_non_null(copy);
    for (char *at = copy; (at = strstr(at, "\\u0000")) != NULL;)
        at[5] = '1';
    line = json_loadb(copy, n, flags, NULL);
    free(copy);
    return line;
}

/* Integers of any size are JSON and stand in the journal as sent: where one is too large for
 * jansson, all are read as reals. */
static void
read_line(struct reading *r, const char *text, size_t n)
{
    json_t *exact = parse_line(text, n, 0);
    json_t *line = exact != NULL ? exact : parse_line(text, n, JSON_DECODE_INT_AS_REAL);
    struct entry *e;

    if (line == NULL || !json_is_object(line)) {
        complain(r, text, n);
    } else {
        e = next_entry(r);
        e->id = member(line, "id");
        e->time = member(line, "time");
        e->listener = member(line, "listener");
        e->proto = member(line, "proto");
        e->peer = member(line, "peer");
        e->kind = member(line, "kind");
        e->key = member(line, "key");
        e->file = member(line, "file");
        e->blob = member(line, "blob");
        e->size = (uint64_t)json_number_value(json_object_get(line, "size"));
        snprintf(e->sha256, sizeof(e->sha256), "%s",
                 json_string_value(json_object_get(line, "sha256")));
        if (!line_is_right(text, n) || (exact != NULL && !complete(e, exact)))
            complain(r, text, n);
        read_body(e, line, text, n, r->data_dir);
        e->sound = body_is_sound(e);
    }
    json_decref(line);
}

static void
read_segment(struct reading *r, const char *path)
{
    size_t n = 0;
    char *data = harness_read_file(path, &n);
    char *at = data, *end;

    r->journal->segments++;
    while (data != NULL && (end = memchr(at, '\n', n - (size_t)(at - data))) != NULL) {
        read_line(r, at, (size_t)(end - at));
        at = end + 1;
    }
    if (data != NULL && !r->live && at != data + n)
        complain(r, at, n - (size_t)(at - data));
    free(data);
}

/* Ids tell milliseconds, and within one the order of one worker only: a connection that moves to
 * another worker goes on in the same millisecond. */
static int
compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int peers = strcmp(x->peer, y->peer), times = strcmp(x->time, y->time);

    if (peers != 0)
        return peers;
    return times != 0 ? times : strcmp(x->id, y->id);
}

static int
is_segment(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);

    return n > 7 && strcmp(entry->d_name + n - 7, ".ndjson") == 0;
}

void
journal_load(const char *data_dir, bool live, struct journal *journal_out)
{
    struct reading r = {.data_dir = data_dir, .live = live, .journal = journal_out};
    char dir[HARNESS_PATH_LEN], path[HARNESS_PATH_LEN];
    struct dirent **names = NULL;
    int count;

    memset(journal_out, 0, sizeof(*journal_out));
    harness_join(dir, data_dir, "journal");
    count = scandir(dir, &names, is_segment, alphasort);
    for (int i = 0; i < count; i++) {
        harness_join(path, dir, names[i]->d_name);
        read_segment(&r, path);
        free(names[i]);
    }
    free(names);
    if (journal_out->count > 0)
        qsort(journal_out->entries, journal_out->count, sizeof(struct entry), compare_entries);
}

void
journal_free(struct journal *j)
{
    for (size_t i = 0; i < j->count; i++) {
        struct entry *e = &j->entries[i];
        char *texts[] = {e->id,   e->time, e->listener, e->proto, e->peer,
                         e->kind, e->key,  e->file,     e->blob,  e->body};

        for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
            free(texts[k]);
    }
    free(j->entries);
    free(j->complaint);
    memset(j, 0, sizeof(*j));
}

void
journal_check(const struct journal *j)
{
    if (j->bad_lines > 0)
        fail_msg("%zu bad lines, the first: %.300s", j->bad_lines, j->complaint);
    for (size_t i = 0; i < j->count; i++)
        if (!j->entries[i].sound)
            fail_msg("a body is not what its sum says: entry %s, %zu bytes", j->entries[i].id,
                     j->entries[i].body_len);
}

size_t
journal_count(const char *data_dir)
{
    struct journal j;
    size_t count;

    journal_load(data_dir, false, &j);
    journal_check(&j);
    count = j.count;
    journal_free(&j);
    return count;
}

size_t
journal_find_key(const struct journal *j, const char *key, const struct entry **one_out)
{
    size_t found = 0;

    if (one_out != NULL)
        *one_out = NULL;
    for (size_t i = 0; i < j->count; i++) {
        if (strcmp(j->entries[i].key, key) != 0)
            continue;
        if (one_out != NULL && found == 0)
            *one_out = &j->entries[i];
        found++;
    }
    return found;
}

size_t
journal_find_peer(const struct journal *j, const char *peer, const struct entry **first_out)
{
    size_t low = 0, high = j->count, n = 0;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (strcmp(j->entries[mid].peer, peer) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    while (low + n < j->count && strcmp(j->entries[low + n].peer, peer) == 0)
        n++;
    *first_out = n > 0 ? &j->entries[low] : NULL;
    return n;
}

#include "relay_case.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the scene --- */

const char *
relay_option(const struct nats *n, const char *options)
{
    static char texts[2][RELAY_URL_SIZE];
    static unsigned turn;
    char *text = texts[turn++ % 2];

    snprintf(text, RELAY_URL_SIZE, "relay=nats://127.0.0.1:%u?stream=S&subject=in.{kind}%s%s",
             n->port, options[0] != '\0' ? "&" : "", options);
    return text;
}

struct daemon *
relay_daemon(const struct nats *n, const char *options, const char *set)
{
    struct daemon_options o = {.workers = 1,
                               .set = {LOAD_PATIENCE, relay_option(n, options), set},
                               .errors_expected = true};

    return daemon_start(&o);
}

void
relay_send(const struct daemon *d, char kind, const char *value, const void *body, size_t n)
{
    const struct outgoing m = {.kind = kind,
                               .flags = WIRE_REPLY,
                               .value = value,
                               .value_len = strlen(value),
                               .body = body,
                               .len = n};
    struct answer a;

    free(nats_send_one(d, &m, &a));
    if (a.kind != ANSWER_ACK)
        fail_msg("%s", a.text);
}

void
relay_send_text(const struct daemon *d, const char *text)
{
    relay_send(d, 'A', "", text, strlen(text));
}

/* --- what it tells --- */

json_t *
relay_row(const struct daemon *d)
{
    struct run_result result = daemon_control(d, "relay", "--json", NULL);
    json_t *rows = json_loads(result.out, 0, NULL);
    json_t *row = json_array_get(rows, json_array_size(rows) - 1);

    json_incref(row);
    json_decref(rows);
    run_result_free(&result);
    return row;
}

json_int_t
relay_number_of(const struct daemon *d, json_int_t pid, const char *name)
{
    struct run_result result = daemon_control(d, "relay", "--json", NULL);
    json_t *rows = json_loads(result.out, 0, NULL), *row;
    json_int_t n = -1;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (json_integer_value(json_object_get(row, "pid")) == pid)
            n = json_integer_value(json_object_get(row, name));
    }
    json_decref(rows);
    run_result_free(&result);
    return n;
}

json_int_t
relay_number(const struct daemon *d, const char *name)
{
    json_t *row = relay_row(d);
    json_int_t n = json_integer_value(json_object_get(row, name));

    json_decref(row);
    return n;
}

double
relay_seconds(const struct daemon *d, const char *name)
{
    json_t *row = relay_row(d);
    double seconds = json_real_value(json_object_get(row, name));

    json_decref(row);
    return seconds;
}

bool
relay_error_has(const struct daemon *d, const char *text)
{
    json_t *row = relay_row(d);
    const char *error = json_string_value(json_object_get(row, "error"));
    bool has = error != NULL && strstr(error, text) != NULL;

    json_decref(row);
    return has;
}

/* Has all that was in the journal up to that record been relayed? */
static bool
relay_is_at(const struct daemon *d, const char *id)
{
    json_t *row = relay_row(d);
    const char *position = json_string_value(json_object_get(row, "position"));
    bool is = position != NULL && strcmp(position, id) >= 0 &&
              json_integer_value(json_object_get(row, "lag_records")) == 0 &&
              json_is_false(json_object_get(row, "lag_is_more"));

    json_decref(row);
    return is;
}

/* --- journal and stream --- */

static int
relay_entry_compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return strcmp(x->id, y->id);
}

static void
relay_entry_expect(const struct entry *e, const struct entry *wanted)
{
    assert_string_equal(e->id, wanted->id);
    assert_string_equal(e->time, wanted->time);
    assert_string_equal(e->kind, wanted->kind);
    assert_string_equal(e->listener, wanted->listener);
    assert_string_equal(e->proto, wanted->proto);
    assert_string_equal(e->peer, wanted->peer);
    assert_int_equal(e->size, wanted->size);
    assert_int_equal(e->body_len, wanted->body_len);
    assert_memory_equal(e->body, wanted->body, e->body_len);
    assert_true(e->sound);
}

/* Both stay sorted by id. */
static void
relay_expect_same(const struct journal *stream, const struct journal *j)
{
    qsort(j->entries, j->count, sizeof(j->entries[0]), relay_entry_compare);
    qsort(stream->entries, stream->count, sizeof(stream->entries[0]), relay_entry_compare);
    for (size_t i = 0; i < j->count && i < stream->count; i++)
        relay_entry_expect(&stream->entries[i], &j->entries[i]);
    assert_int_equal(stream->count, j->count);
}

void
relay_check_stream(const struct daemon *d, const struct nats *n)
{
    struct journal j, stream;
    size_t orphans;

    journal_load(d->data_dir, true, &j);
    assert_int_equal(j.bad_lines, 0);
    assert_true(j.count > 0);
    qsort(j.entries, j.count, sizeof(j.entries[0]), relay_entry_compare);
    WAIT_FOR(relay_is_at(d, j.entries[j.count - 1].id), 60000);
    nats_read_stream(n, "S", &stream, &orphans);
    relay_expect_same(&stream, &j);
    assert_int_equal(orphans, 0);
    journal_free(&j);
    journal_free(&stream);
}

size_t
relay_stream_count(const struct nats *n, const char *name)
{
    struct journal stream;
    size_t count;

    nats_read_stream(n, name, &stream, NULL);
    count = stream.count;
    journal_free(&stream);
    return count;
}

void
relay_kill(const struct daemon *d)
{
    json_int_t pid = relay_number(d, "pid");

    if (pid <= 0)
        return; /* it waits to be replaced */
    signal_send((pid_t)pid, SIGKILL);
    WAIT_FOR(relay_number(d, "pid") != pid, 30000);
}

/* Every conversation of the vectors with the real daemon, on a listener of msp and on one that has
 * to find out what it is: whole, one byte at a time, and cut in two at every byte (where it has to
 * be found out, at every byte that can matter for that). What came out at the other end is read
 * from the journal. */
#include "journal.h"
#include "stats.h"
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH     512 /* conversations that go on at the same time */
#define AUTO_CUTS 64  /* behind so many bytes it is known that they are msp */

enum manner { MANNER_WHOLE, MANNER_BYTES, MANNER_CUT };

struct talk {
    struct peer peer;
    size_t cut; /* byte of the conversation where it is cut in two; 0: nowhere */
};

static struct talk talks[BATCH];

/* The server has read what was sent so far, so the next bytes come in a read of their own. A
 * connection that it has closed counts too. */
static bool
all_read(const struct daemon *d, size_t count)
{
    json_t *conns = stats_read(d, "conns"), *row;
    size_t i, behind = 0;

    json_array_foreach(conns, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "peer"));
        uint64_t got = (uint64_t)json_integer_value(json_object_get(row, "bytes_in"));

        for (size_t k = 0; k < count; k++)
            if (strcmp(talks[k].peer.name, name) == 0)
                behind += talks[k].peer.counts.bytes_in != got;
    }
    json_decref(conns);
    return behind == 0;
}

static void
write_bytes(struct peer *p, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (peer_write(p, data + i, 1) < 0)
            return; /* closed with an ERR, which is read later */
}

static void
write_step(const struct daemon *d, const struct vector_step *s, size_t at, size_t count,
           enum manner manner)
{
    bool any_cut = false;

    for (size_t k = 0; k < count; k++) {
        struct talk *t = &talks[k];
        size_t first = t->cut > at && t->cut < at + s->client_len ? t->cut - at : s->client_len;

        any_cut = any_cut || first < s->client_len;
        if (manner == MANNER_BYTES)
            write_bytes(&t->peer, s->client, s->client_len);
        else
            (void)!peer_write(&t->peer, s->client, first);
    }
    if (!any_cut)
        return;
    WAIT_FOR(all_read(d, count), 10000);
    for (size_t k = 0; k < count; k++) {
        struct talk *t = &talks[k];

        if (t->cut > at && t->cut < at + s->client_len)
            (void)!peer_write(&t->peer, s->client + (t->cut - at), s->client_len - (t->cut - at));
    }
}

static void
expect_text(struct talk *t, const struct vector *v, const char *want)
{
    char got[1024] = "";
    struct answer answer;

    if (strncmp(want, "REJ", 3) == 0 || strncmp(want, "ERR", 3) == 0) {
        peer_answer(&t->peer, &answer);
        if (strncmp(answer.text, want, strlen(want)) != 0)
            fail_msg("%s, cut at %zu: \"%s\" instead of \"%s\"", v->name, t->cut, answer.text,
                     want);
        return;
    }
    if (peer_read(&t->peer, got, strlen(want)) < 0 || strcmp(got, want) != 0)
        fail_msg("%s, cut at %zu: \"%s\" instead of \"%s\"", v->name, t->cut, got, want);
}

static void
end_talk(struct talk *t, const struct vector *v)
{
    char extra[256];
    size_t n = 0;

    if (v->reply) {
        char *body = peer_reply(&t->peer, &n);

        if (body == NULL)
            fail_msg("%s, cut at %zu: no sound reply block", v->name, t->cut);
        free(body);
    }
    if (!v->closes)
        shutdown(t->peer.fd, SHUT_WR);
    if (peer_read_some(&t->peer, extra, sizeof(extra), t->peer.answer_ms) > 0)
        fail_msg("%s, cut at %zu: more came than expected", v->name, t->cut);
    peer_close(&t->peer);
}

/* One batch of conversations about the same vector, cut at first, first + 1, ... */
static void
run_batch(const struct daemon *d, const struct vector *v, const char *source, size_t first,
          size_t count, enum manner manner)
{
    const struct target *target = &d->listeners[v->small_packets ? 1 : 0];
    size_t at = 0;

    for (size_t k = 0; k < count; k++) {
        peer_connect_from(&talks[k].peer, target, source);
        talks[k].cut = manner == MANNER_CUT ? first + k : 0;
    }
    for (size_t i = 0; i < v->step_count; i++) {
        const struct vector_step *s = &v->steps[i];

        if (s->client != NULL)
            write_step(d, s, at, count, manner);
        at += s->client_len;
        for (size_t k = 0; k < count && s->server != NULL; k++)
            expect_text(&talks[k], v, s->server);
    }
    for (size_t k = 0; k < count; k++)
        end_talk(&talks[k], v);
}

static size_t
run_vector(const struct daemon *d, const struct vector *v, const char *source, enum manner manner,
           size_t cuts)
{
    size_t done = 0, end = v->client_len < cuts ? v->client_len : cuts;

    if (manner != MANNER_CUT) {
        run_batch(d, v, source, 0, 1, manner);
        return 1;
    }
    for (size_t first = 1; first < end; first += BATCH) {
        size_t count = end - first < BATCH ? end - first : BATCH;

        run_batch(d, v, source, first, count, manner);
        done += count;
    }
    return done;
}

/* Each case has a source address of its own, by which its entries are found. */
static void
source_of(size_t index, char out[32])
{
    snprintf(out, 32, "127.0.1.%zu", index + 1);
}

static void
check_entry(const struct vector *v, const struct entry *e, const struct vector_delivery *want)
{
    char file[300];
    bool is_file = strcmp(want->kind, "file") == 0;

    snprintf(file, sizeof(file), "files/%s", want->value);
    if (strcmp(e->proto, "msp") != 0 || strcmp(e->kind, want->kind) != 0 ||
        e->body_len != want->body_len || memcmp(e->body, want->body, want->body_len) != 0 ||
        strcmp(is_file ? e->file : e->key, is_file ? file : want->value) != 0)
        fail_msg("%s: entry %s is %s, key \"%s\", file \"%s\", %zu bytes", v->name, e->id, e->kind,
                 e->key, e->file, e->body_len);
}

/* Has it an id or a path? Then a conversation whose message was just committed by another one adds
 * nothing to the journal. */
static bool
is_known(const struct vector *v)
{
    return v->delivery_count == 1 && v->deliveries[0].value[0] != '\0';
}

static void
check_deliveries(const struct journal *j, const struct vector *v, const char *source, size_t talked)
{
    char prefix[40];
    size_t found = 0;

    snprintf(prefix, sizeof(prefix), "%s:", source);
    for (size_t i = 0; i < j->count; i++) {
        if (strncmp(j->entries[i].peer, prefix, strlen(prefix)) != 0)
            continue;
        if (v->delivery_count == 0)
            fail_msg("%s: something was delivered", v->name);
        check_entry(v, &j->entries[i], &v->deliveries[found % v->delivery_count]);
        found++;
    }
    if (found > talked * v->delivery_count ||
        found < (is_known(v) ? 1 : talked * v->delivery_count))
        fail_msg("%s: %zu deliveries from %zu conversations", v->name, found, talked);
}

/* What does not begin as msp is no msp where other protocols are spoken, too. */
static bool
fits(const struct vector *v, const char *scheme, enum manner manner)
{
    if (strcmp(scheme, "auto") == 0 && strcmp(v->name, "bad-header") == 0)
        return false;
    return manner == MANNER_WHOLE || !v->undetermined;
}

static void
run_all(const char *scheme, enum manner manner)
{
    size_t cuts = strcmp(scheme, "auto") == 0 ? AUTO_CUTS : SIZE_MAX;
    char plain[40], small[100];
    struct daemon_options options = {.listen = {plain, small},
                                     .set = {"timeout=30s", "min_rate=0", "on_conflict=replace"}};
    struct vector *vectors;
    size_t count, talked[128];
    struct daemon *d;
    struct journal j;
    char source[32];

    snprintf(plain, sizeof(plain), "%s://127.0.0.1:0", scheme);
    snprintf(small, sizeof(small), "%s?packet_size=2048&packet_size_max=2048", plain);
    d = daemon_start(&options);
    vectors = vectors_load(&count);
    assert_true(count <= 128);
    for (size_t i = 0; i < count; i++) {
        source_of(i, source);
        talked[i] = 0;
        if (fits(&vectors[i], scheme, manner))
            talked[i] = run_vector(d, &vectors[i], source, manner, cuts);
    }
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    for (size_t i = 0; i < count; i++) {
        source_of(i, source);
        check_deliveries(&j, &vectors[i], source, talked[i]);
    }
    journal_free(&j);
    vectors_free(vectors, count);
}

static void
every_vector_holds_whole(void **state)
{
    (void)state;
    run_all("msp", MANNER_WHOLE);
}

static void
every_vector_holds_one_byte_at_a_time(void **state)
{
    (void)state;
    run_all("msp", MANNER_BYTES);
}

static void
every_vector_holds_cut_at_every_byte(void **state)
{
    (void)state;
    run_all("msp", MANNER_CUT);
}

static void
every_vector_holds_where_other_protocols_are_spoken_too(void **state)
{
    (void)state;
    run_all("auto", MANNER_WHOLE);
    run_all("auto", MANNER_BYTES);
}

static void
every_vector_holds_there_cut_while_it_is_found_out(void **state)
{
    (void)state;
    run_all("auto", MANNER_CUT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(every_vector_holds_whole),
        SYSTEM_TEST(every_vector_holds_one_byte_at_a_time),
        SYSTEM_TEST(every_vector_holds_cut_at_every_byte),
        SYSTEM_TEST(every_vector_holds_where_other_protocols_are_spoken_too),
        SYSTEM_TEST(every_vector_holds_there_cut_while_it_is_found_out),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* Large documents are parsed beside the loop: others are served meanwhile, and order holds. */
#include "daemon.h"
#include "journal.h"
#include "msock.h"
#include "raw.h"
#include "stats.h"
#include "wire.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What order things come in is seen only by one who gets time: where he did not, it is tried
 * again. */
#define TRIES 10

#define SMALL_LEN ((size_t)200000)

#define VALUES 330000 /* close to what worker_memory_max has room for by default */

/* As many texts as are allowed: it takes the parser a tenth of a second or so. */
static char *
large_document(size_t *n_out)
{
    size_t n = 0, cap = (size_t)VALUES * 24 + 16;
    char *text = malloc(cap);

    assert_non_null(text);
    text[n++] = '[';
    for (unsigned i = 0; i < VALUES - 2; i++)
        n += (size_t)snprintf(text + n, cap - n, "\"value number %u\",", i);
    text[n++] = '0';
    text[n++] = ']';
    text[n] = '\0';
    *n_out = n;
    return text;
}

static msock *
client(const char *url)
{
    msock *m = msock_open(url);

    assert_non_null(m);
    msock_set_timeouts(m, 20000, 60000);
    return m;
}

struct sender {
    const char *url;
    char kind;
    const char *text;
    size_t n;
    atomic_int trailer, finished; /* what has happened */
    enum msock_status status;
    pthread_t thread;
};

static int
note_trailer(void *arg, uint64_t done, uint64_t total)
{
    struct sender *s = arg;

    if (done == total)
        atomic_store(&s->trailer, 1);
    return 0;
}

static void *
sender_main(void *arg)
{
    struct sender *s = arg;
    msock *m = client(s->url);

    msock_set_progress(m, note_trailer, s);
    s->status =
        s->kind == 'J' ? msock_send_json_text(m, s->text, s->n) : msock_send(m, s->text, s->n);
    atomic_store(&s->finished, 1);
    msock_close(m);
    return NULL;
}

static void
sender_start(struct sender *s, const char *url, char kind, const char *text, size_t n)
{
    *s = (struct sender){.url = url, .kind = kind, .text = text, .n = n};
    assert_int_equal(pthread_create(&s->thread, NULL, sender_main, s), 0);
}

/* Each is small, and to parse all that a read holds would take tens of milliseconds. */
static void
many_small_documents_take_many_turns(void **state)
{
    const struct outgoing m = {.kind = 'J', .body = raw_body(1900, 1), .len = 1900};
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "discard"});
    const unsigned count = 3000;
    uint8_t *bytes = malloc((size_t)count * (WIRE_FIRST_MAX + WIRE_TRAILER_MAX));
    uint64_t turns = stats_total(d, "turns");
    struct peer p;
    size_t n = 0;

    (void)state;
    assert_non_null(bytes);
    for (unsigned i = 0; i < count; i++)
        n += wire_ahead(bytes + n, &m);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, bytes, n), 0);
    WAIT_FOR(stats_total(d, "rej") == count, 60000);
    assert_true(stats_total(d, "turns") - turns > count / 25);
    peer_close(&p);
    free((void *)(uintptr_t)m.body);
    free(bytes);
    daemon_stop(d);
}

/* Small messages are answered between the last byte of a large one and its answer. */
static void
expect_served_meanwhile(const char *url, char kind, const char *text, size_t n)
{
    unsigned meanwhile = 0;
    msock *m = client(url);
    struct sender s;

    assert_int_equal(msock_connect(m), MSOCK_OK);
    for (unsigned tries = 0; tries < TRIES && meanwhile < 10; tries++) {
        meanwhile = 0;
        sender_start(&s, url, kind, text, n);
        while (!atomic_load(&s.finished)) {
            int behind = atomic_load(&s.trailer);

            assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
            meanwhile += behind && !atomic_load(&s.finished);
        }
        pthread_join(s.thread, NULL);
        assert_int_equal(s.status, MSOCK_OK);
    }
    /* One or two could be answered between the trailer's leaving and its arrival. */
    assert_true(meanwhile >= 10);
    msock_close(m);
}

static void
others_are_served_while_a_document_is_parsed(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "discard"});
    size_t n;
    char *text = large_document(&n);

    (void)state;
    expect_served_meanwhile(d->listeners[0].url, 'J', text, n);
    free(text);
    daemon_stop(d);
}

#define BAD     20
#define BAD_LEN ((size_t)13 << 20)

/* How often a good sender was served between the refusals of bad documents, whose last bytes come
 * together. */
static unsigned
turns_between_refusals(msock *m, const char *url, const char *text)
{
    struct sender senders[BAD];
    unsigned between = 0, refused = 0;

    for (unsigned i = 0; i < BAD; i++)
        sender_start(&senders[i], url, 'J', text, BAD_LEN);
    for (unsigned i = 0; i < BAD; i++)
        WAIT_FOR(atomic_load(&senders[i].trailer), 60000);
    while (refused < BAD) {
        unsigned before = refused;

        assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
        refused = 0;
        for (unsigned i = 0; i < BAD; i++)
            refused += atomic_load(&senders[i].finished) != 0;
        between += refused > before && before > 0; /* a turn for the good one */
    }
    for (unsigned i = 0; i < BAD; i++) {
        pthread_join(senders[i].thread, NULL);
        assert_int_equal(senders[i].status, MSOCK_REFUSED);
    }
    return between;
}

static void
bad_documents_do_not_hold_up_good_senders(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const char *url = d->listeners[0].url;
    char *text = malloc(BAD_LEN);
    msock *m = client(url);
    unsigned between = 0;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', BAD_LEN);
    for (size_t i = 1; i < BAD_LEN; i += 64) /* texts, and no bracket at the end */
        memcpy(text + i, "\"a text of some length that is like many\",", 42);
    text[0] = '[';
    assert_int_equal(msock_connect(m), MSOCK_OK);
    for (unsigned tries = 0; tries < TRIES && between < 3; tries++)
        between = turns_between_refusals(m, url, text);
    assert_in_range(between, 3, BAD);
    msock_close(m);
    free(text);
    daemon_stop(d);
}

#define LARGE 12

static unsigned
finished(struct sender senders[LARGE])
{
    unsigned count = 0;

    for (unsigned i = 0; i < LARGE; i++)
        count += atomic_load(&senders[i].finished) != 0;
    return count;
}

/* Is a small document answered before most of the larger ones that came before it? */
static bool
small_one_comes_soon(msock *m, const char *url, const char *text, size_t n, const char *small)
{
    struct sender senders[LARGE];
    unsigned before, behind;

    for (unsigned i = 0; i < LARGE; i++)
        sender_start(&senders[i], url, 'J', text, n);
    for (unsigned i = 0; i < LARGE; i++)
        WAIT_FOR(atomic_load(&senders[i].trailer), 60000);
    before = finished(senders);
    assert_int_equal(msock_send_json_text(m, small, SMALL_LEN), MSOCK_OK);
    behind = LARGE - finished(senders);
    for (unsigned i = 0; i < LARGE; i++) {
        pthread_join(senders[i].thread, NULL);
        assert_int_equal(senders[i].status, MSOCK_OK);
    }
    /* The one under way, and one that was not answered yet. */
    return behind > 0 && behind + 3 >= LARGE - before;
}

static void
a_document_does_not_wait_for_all_larger_ones(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "discard"});
    msock *m = client(d->listeners[0].url);
    size_t n;
    char *text = large_document(&n), *small = malloc(SMALL_LEN);
    unsigned tries = 0;

    (void)state;
    assert_non_null(small);
    memset(small, ' ', SMALL_LEN);
    small[0] = '1';
    assert_int_equal(msock_connect(m), MSOCK_OK);
    while (!small_one_comes_soon(m, d->listeners[0].url, text, n, small))
        assert_true(++tries < TRIES);
    msock_close(m);
    free(small);
    free(text);
    daemon_stop(d);
}

static void
note_number(void *arg, uint64_t number, enum msock_status status)
{
    unsigned *next = arg;

    assert_int_equal(number, *next);
    assert_int_equal(status, number == 2 ? MSOCK_REFUSED : MSOCK_OK);
    (*next)++;
}

/* What is sent behind a large document comes behind it, in the answers and in the journal. */
static void
order_holds_behind_a_large_document(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    unsigned settled = 0;
    msock *m = client(d->listeners[0].url);
    struct journal j;
    size_t n;
    char *text = large_document(&n);

    (void)state;
    msock_set_settled(m, note_number, &settled);
    assert_int_equal(msock_send_ahead(m, 'A', "first", 5), MSOCK_OK);
    assert_int_equal(msock_send_ahead(m, 'J', text, n), MSOCK_OK);
    text[n - 1] = ','; /* and one that is refused */
    assert_int_equal(msock_send_ahead(m, 'J', text, n), MSOCK_OK);
    assert_int_equal(msock_send_ahead(m, 'A', "last", 4), MSOCK_OK);
    assert_int_equal(msock_flush(m, 60000), MSOCK_OK);
    assert_int_equal(settled, 4);
    msock_close(m);
    journal_load(d->data_dir, true, &j);
    journal_check(&j);
    assert_int_equal(j.count, 3);
    assert_int_equal(j.entries[0].size, 5);
    assert_int_equal(j.entries[1].size, n);
    assert_int_equal(j.entries[2].size, 4);
    journal_free(&j);
    free(text);
    daemon_stop(d);
}

/* A sender that goes away, a reload and the end: nothing waits for ever, and nothing is lost that
 * was acknowledged. */
static void
a_document_under_way_survives_what_happens_around_it(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2, .handler = "discard"});
    struct sender senders[4];
    size_t n;
    char *text = large_document(&n);

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 4; i++)
            sender_start(&senders[i], d->listeners[0].url, 'J', text, n);
        daemon_reload(d);
        for (unsigned i = 0; i < 4; i++) {
            pthread_join(senders[i].thread, NULL);
            assert_int_equal(senders[i].status, MSOCK_OK);
        }
    }
    WAIT_FOR(stats_total(d, "open") == 0, 20000);
    free(text);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(others_are_served_while_a_document_is_parsed),
        SYSTEM_TEST(many_small_documents_take_many_turns),
        SYSTEM_TEST(bad_documents_do_not_hold_up_good_senders),
        SYSTEM_TEST(a_document_does_not_wait_for_all_larger_ones),
        SYSTEM_TEST(order_holds_behind_a_large_document),
        SYSTEM_TEST(a_document_under_way_survives_what_happens_around_it),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* The senders. An id tells everything that is needed to check a body: its thread, number and length. */
#include "harness.h"

#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ID_LEN 40

struct load_thread {
    struct load *load;
    pthread_t thread;
    bool joined;
    unsigned index;
    char tag[16];
    uint64_t seed;
    uint64_t acked; /* numbers 0 to acked - 1 have their final ACK, or were rejected */
    size_t body_cap;
    char *body;
    bool *rejected; /* of these numbers, those with REJ */
    size_t rejected_cap;
};

static struct load *loads;

/* The same bytes for the same number, without keeping them. */
static size_t
make_body(const struct load_thread *t, uint64_t number, char *out)
{
    uint64_t x = (number + 1) * 0x9e3779b97f4a7c15ull ^ t->seed;
    size_t n = 1 + (size_t)(x >> 33) % t->load->body_max;

    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[i] = (char)('a' + x % 26);
    }
    return n;
}

static void
make_id(const struct load_thread *t, uint64_t number, char out[ID_LEN])
{
    snprintf(out, ID_LEN, "%s-%u-%llu", t->tag, t->index, (unsigned long long)number);
}

static void
nap(void)
{
    struct timespec ts = {.tv_nsec = 2000000};

    nanosleep(&ts, NULL);
}

static void
complain(struct load *l, const char *what)
{
    if (l->complaint[0] == '\0')
        snprintf(l->complaint, sizeof(l->complaint), "%.150s", what);
}

static bool
reconnect(struct load_thread *t, struct peer *p)
{
    while (peer_try_connect(p, &t->load->target, NULL) < 0) {
        t->load->refused_connects++;
        if (t->load->stop)
            return false;
        nap();
    }
    return true;
}

static void
note_rejected(struct load_thread *t)
{
    if (t->acked >= t->rejected_cap) {
        size_t cap = (size_t)t->acked * 2 + 64;
        bool *more = realloc(t->rejected, cap);

        if (more == NULL)
            abort();
        memset(more + t->rejected_cap, 0, cap - t->rejected_cap);
        t->rejected = more;
        t->rejected_cap = cap;
    }
    t->rejected[t->acked] = true;
}

/* What an answer means for the message: true when it is settled. */
static bool
settle(struct load_thread *t, struct peer *p, enum answer_kind kind, const struct answer *a)
{
    struct load *l = t->load;

    switch (kind) {
    case ANSWER_ACK:
        l->acked++;
        return true;
    case ANSWER_REJ:
        l->rejected++;
        complain(l, a->text);
        note_rejected(t);
        return true;
    case ANSWER_ERR:
        l->errors += strcmp(a->code, "shutdown") != 0;
        if (strcmp(a->code, "shutdown") != 0)
            complain(l, a->text);
        l->cut += p->answers > 1; /* the ERR is one of them */
        break;
    case ANSWER_CLOSED:
        l->cut += p->answers > 0;
        break;
    case ANSWER_GRANT:
    case ANSWER_NACK1:
    case ANSWER_NACK2:
    case ANSWER_SILENCE:
    case ANSWER_BROKEN:
        l->broken++;
        complain(l, kind == ANSWER_SILENCE ? "no answer in time" : a->text);
        break;
    }
    l->repeated++;
    return false;
}

static void *
send_all(void *arg)
{
    struct load_thread *t = arg;
    struct peer p = {.fd = -1};
    struct answer answer;
    char id[ID_LEN];

    while (!t->load->stop) {
        size_t n = make_body(t, t->acked, t->body);

        make_id(t, t->acked, id);
        if (p.fd < 0 && !reconnect(t, &p))
            break;
        if (settle(t, &p, peer_send_plain(&p, id, t->body, n, &answer), &answer)) {
            t->acked++;
        } else {
            peer_close(&p);
        }
    }
    peer_close(&p);
    return NULL;
}

struct load *
load_start(const struct target *target, const char *tag, unsigned threads, size_t body_max)
{
    struct load *l = calloc(1, sizeof(*l));

    assert_non_null(l);
    assert_in_range(threads, 1, LOAD_THREADS_MAX);
    l->target = *target;
    l->body_max = body_max;
    l->threads = calloc(threads, sizeof(*l->threads));
    assert_non_null(l->threads);
    l->next = loads;
    loads = l;
    for (unsigned i = 0; i < threads; i++) {
        struct load_thread *t = &l->threads[i];

        t->load = l;
        t->index = i;
        t->seed = 0x6d736f636bull * (i + 1);
        snprintf(t->tag, sizeof(t->tag), "%s", tag);
        t->body = malloc(body_max);
        assert_non_null(t->body);
        assert_int_equal(pthread_create(&t->thread, NULL, send_all, t), 0);
        l->thread_count++;
    }
    return l;
}

void
load_stop(struct load *l)
{
    l->stop = true;
    for (unsigned i = 0; i < l->thread_count; i++) {
        if (!l->threads[i].joined)
            pthread_join(l->threads[i].thread, NULL);
        l->threads[i].joined = true;
    }
}

void
load_advance(struct load *l, uint64_t messages, unsigned timeout_ms)
{
    uint64_t want = l->acked + messages;

    WAIT_FOR(l->acked >= want, timeout_ms);
}

static int
compare_keys(const void *a, const void *b)
{
    const struct entry *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

static const struct entry **
sorted_by_key(const struct journal *j)
{
    const struct entry **index = calloc(j->count + 1, sizeof(*index));

    assert_non_null(index);
    for (size_t i = 0; i < j->count; i++)
        index[i] = &j->entries[i];
    qsort(index, j->count, sizeof(*index), compare_keys);
    return index;
}

static void
check_message(const struct load_thread *t, uint64_t number, const struct entry **index,
              size_t count)
{
    char id[ID_LEN];
    struct entry wanted = {.key = id};
    const struct entry *key = &wanted, **found;
    size_t n = make_body(t, number, t->body);

    make_id(t, number, id);
    found = bsearch(&key, index, count, sizeof(*index), compare_keys);
    if (found == NULL)
        fail_msg("message %s was acknowledged and is not in the journal", id);
    if ((*found)->body_len != n || memcmp((*found)->body, t->body, n) != 0)
        fail_msg("message %s has another body in the journal", id);
}

static void
check_rejected(const struct load_thread *t, uint64_t number, const struct entry **index,
               size_t count)
{
    char id[ID_LEN];
    struct entry wanted = {.key = id};
    const struct entry *key = &wanted;

    make_id(t, number, id);
    if (bsearch(&key, index, count, sizeof(*index), compare_keys) != NULL)
        fail_msg("message %s was refused and is in the journal", id);
}

static uint64_t
count_doubles(const struct entry **index, size_t count)
{
    uint64_t doubles = 0;

    for (size_t i = 1; i < count; i++)
        doubles += strcmp(index[i - 1]->key, index[i]->key) == 0;
    return doubles;
}

uint64_t
load_check_journal(const struct load *l, const struct journal *j)
{
    const struct entry **index = sorted_by_key(j);
    uint64_t doubles = count_doubles(index, j->count);

    journal_check(j);
    for (unsigned i = 0; i < l->thread_count; i++) {
        const struct load_thread *t = &l->threads[i];

        assert_true(t->joined);
        for (uint64_t n = 0; n < t->acked; n++)
            if (n < t->rejected_cap && t->rejected[n])
                check_rejected(t, n, index, j->count);
            else
                check_message(t, n, index, j->count);
    }
    free(index);
    return doubles;
}

void
load_end_all(void)
{
    while (loads != NULL) {
        struct load *next = loads->next;

        load_stop(loads);
        for (unsigned i = 0; i < loads->thread_count; i++) {
            free(loads->threads[i].body);
            free(loads->threads[i].rejected);
        }
        free(loads->threads);
        free(loads);
        loads = next;
    }
}

/* The senders. An id tells everything that is needed to check a body: its thread, number and
 * length. */
#include "harness.h"

#include "load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ID_LEN 64

struct load_thread {
    struct load *load;
    pthread_t thread;
    bool joined;
    unsigned index;
    char tag[24];
    uint64_t seed;
    uint64_t acked; /* numbers 0 to acked - 1 have their final ACK, or were rejected */
    size_t body_cap;
    char *body;
    bool *rejected; /* of these numbers, those with REJ */
    size_t rejected_cap;
};

static struct load *loads;

static int
make_id(const struct load_thread *t, uint64_t number, char out[ID_LEN])
{
    return snprintf(out, ID_LEN, "%s-%u-%llu", t->tag, t->index, (unsigned long long)number);
}

/* The same bytes for the same number, without keeping them. Where no id goes with a message, it
 * stands in the body. */
static size_t
make_body(const struct load_thread *t, uint64_t number, char *out)
{
    const struct way *way = t->load->way;
    uint64_t x = (number + 1) * 0x9e3779b97f4a7c15ull ^ t->seed;
    size_t n = 1 + (size_t)(x >> 33) % t->load->body_max, head = 0;
    char id[ID_LEN];

    if (way->kind != NULL) {
        head = (size_t)make_id(t, number, id);
        memcpy(out, id, head);
        out[head++] = ' ';
        n = way->fixed != 0 ? way->fixed : n < head ? head : n;
    }
    for (size_t i = head; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[i] = (char)('a' + x % 26);
    }
    return n;
}

#define NAP_MS 2

static void
nap_ms(unsigned ms)
{
    const struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

    if (ms > 0)
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
        nap_ms(NAP_MS);
    }
    t->load->connects++;
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

/* --- msp --- */

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
        nap_ms(t->load->pause_ms);
    }
    peer_close(&p);
    return NULL;
}

/* --- the other protocols --- */

static bool
raw_reconnect(struct load_thread *t, struct raw *r)
{
    memset(r, 0, sizeof(*r));
    r->kind = t->load->way->kind;
    r->seed = t->seed;
    if (!reconnect(t, &r->peer))
        return false;
    if (r->kind->open(r) == 0)
        return true;
    raw_close(r);
    t->load->repeated++;
    return false;
}

/* Whether the text holds the digest of the body, as a journal's receipt does. */
static bool
has_digest(const char *text, const void *body, size_t n)
{
    uint8_t digest[32];
    char hex[80] = "\"sha256\":\"";
    size_t at = strlen(hex);

    wire_sha256(body, n, digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        at += (size_t)snprintf(hex + at, sizeof(hex) - at, "%02x", digest[i]);
    return strstr(text, hex) != NULL;
}

enum receipt {
    RECEIPT_NONE,
    RECEIPT_OURS,
    RECEIPT_OTHER, /* of another body */
};

static enum receipt
raw_receipt(struct raw *r, const char *body, size_t body_len)
{
    size_t n = 0;
    char *text = r->kind->receive(r, &n);
    enum receipt receipt = RECEIPT_NONE;

    if (text != NULL && n > 1 && text[0] == '{' && text[n - 1] == '}')
        receipt = has_digest(text, body, body_len) ? RECEIPT_OURS : RECEIPT_OTHER;
    free(text);
    return receipt;
}

static void
complain_of(const struct load_thread *t, const struct raw *r)
{
    char id[ID_LEN], text[sizeof(t->load->complaint)];

    make_id(t, t->acked, id);
    snprintf(text, sizeof(text), "message %.63s from %.60s: bad answer, or none", id, r->peer.name);
    complain(t->load, text);
}

/* True when it is settled; else the connection is given up. */
static bool
raw_settle(struct load_thread *t, struct raw *r, size_t n)
{
    struct load *l = t->load;
    enum receipt receipt = RECEIPT_NONE;

    if (r->kind->send(r, t->body, n) == 0)
        receipt = l->way->receipts ? raw_receipt(r, t->body, n) : RECEIPT_OURS;
    if (receipt == RECEIPT_OURS) {
        l->acked++;
        return true;
    }
    if (receipt == RECEIPT_OTHER) {
        l->spoiled++;
    } else if (peer_closed(&r->peer, 100)) {
        snprintf(l->lost, sizeof(l->lost), "%s", r->peer.name);
    } else {
        l->broken++;
        complain_of(t, r);
    }
    l->repeated++;
    raw_close(r);
    return false;
}

/* Waits until the server has read everything, and closes for its part. */
static void
raw_end(struct load_thread *t, struct raw *r)
{
    r->kind->finish(r);
    if (!peer_closed(&r->peer, 60000)) {
        t->load->broken++;
        complain(t->load, "the server does not close");
    }
    raw_close(r);
}

static void *
raw_send_all(void *arg)
{
    struct load_thread *t = arg;
    const struct way *way = t->load->way;
    struct raw r = {.peer.fd = -1};

    while (!t->load->stop) {
        size_t n = make_body(t, t->acked, t->body);

        if (r.peer.fd < 0 && !raw_reconnect(t, &r))
            continue;
        t->acked += raw_settle(t, &r, n);
        if (way->kind->once)
            raw_close(&r);
        else if (!way->acknowledges)
            nap_ms(NAP_MS); /* nothing else would slow it */
        nap_ms(t->load->pause_ms);
    }
    if (r.peer.fd >= 0)
        raw_end(t, &r);
    return NULL;
}

struct load *
load_start(const struct target *target, const char *tag, unsigned threads, size_t body_max)
{
    static const struct way msp = {.name = "msp", .acknowledges = true, .stays = true};

    return load_start_way(&msp, target, tag, threads, body_max);
}

struct load *
load_start_way(const struct way *way, const struct target *target, const char *tag,
               unsigned threads, size_t body_max)
{
    struct load *l = calloc(1, sizeof(*l));

    assert_non_null(l);
    assert_in_range(threads, 1, LOAD_THREADS_MAX);
    l->way = way;
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
        t->body = malloc(body_max + 2 * ID_LEN + way->fixed);
        assert_non_null(t->body);
        assert_int_equal(
            pthread_create(&t->thread, NULL, way->kind != NULL ? raw_send_all : send_all, t), 0);
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

/* --- the journal --- */

/* An entry and its id, which the body begins with where the protocol has none. */
struct found {
    char id[ID_LEN];
    const struct entry *entry;
};

static int
compare_ids(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return strcmp(x->id, y->id);
}

static struct found *
sorted_by_id(const struct journal *j)
{
    struct found *index = calloc(j->count + 1, sizeof(*index));

    assert_non_null(index);
    for (size_t i = 0; i < j->count; i++) {
        const struct entry *e = &j->entries[i];
        const char *from = e->key[0] != '\0' ? e->key : e->body;

        index[i].entry = e;
        snprintf(index[i].id, ID_LEN, "%.*s", (int)strcspn(from, " "), from);
    }
    qsort(index, j->count, sizeof(*index), compare_ids);
    return index;
}

/* The first entry of that message, or NULL. */
static const struct found *
find_message(const struct load_thread *t, uint64_t number, const struct found *index, size_t count)
{
    const struct found *found;
    struct found wanted;

    make_id(t, number, wanted.id);
    found = bsearch(&wanted, index, count, sizeof(*index), compare_ids);
    while (found != NULL && found > index && strcmp(found[-1].id, wanted.id) == 0)
        found--;
    return found;
}

static bool
has_body(const struct entry *e, const struct load_thread *t, uint64_t number)
{
    size_t n = make_body(t, number, t->body);

    return e->body_len == n && memcmp(e->body, t->body, n) == 0;
}

static void
check_acked(const struct load_thread *t, uint64_t number, const struct found *index, size_t count)
{
    const struct found *found = find_message(t, number, index, count), *end = index + count;
    char id[ID_LEN];

    make_id(t, number, id);
    if (number < t->rejected_cap && t->rejected[number]) {
        if (found != NULL)
            fail_msg("message %s was refused and is in the journal", id);
        return;
    }
    for (; found != NULL && found < end && strcmp(found->id, id) == 0; found++)
        if (has_body(found->entry, t, number))
            return;
    fail_msg("%s: message %s was acknowledged and is not in the journal", t->load->way->name, id);
}

/* Whatever is in the journal is a message as it was sent, also one that was never acknowledged. */
static void
check_found(const struct load *l, const struct found *found)
{
    unsigned long long number;
    unsigned thread = 0;

    if (sscanf(found->id + strlen(l->threads[0].tag), "-%u-%llu", &thread, &number) != 2 ||
        thread >= l->thread_count || number > l->threads[thread].acked)
        fail_msg("nobody has sent a message %s", found->id);
    if (!has_body(found->entry, &l->threads[thread], number))
        fail_msg("message %s has another body in the journal", found->id);
}

static bool
is_ours(const struct load *l, const struct found *found)
{
    size_t n = strlen(l->threads[0].tag);

    return strncmp(found->id, l->threads[0].tag, n) == 0 && found->id[n] == '-';
}

static void
check_all_acked(const struct load *l, const struct found *index, size_t count)
{
    for (unsigned i = 0; i < l->thread_count; i++) {
        assert_true(l->threads[i].joined);
        for (uint64_t n = 0; n < l->threads[i].acked; n++)
            check_acked(&l->threads[i], n, index, count);
    }
}

void
load_check_acked(const struct load *l, const struct journal *j)
{
    struct found *index = sorted_by_id(j);

    journal_check(j);
    check_all_acked(l, index, j->count);
    free(index);
}

uint64_t
load_check_journal(const struct load *l, const struct journal *j)
{
    struct found *index = sorted_by_id(j);
    uint64_t doubles = 0;

    journal_check(j);
    check_all_acked(l, index, j->count);
    for (size_t i = 0; i < j->count; i++) {
        if (!is_ours(l, &index[i]))
            continue;
        check_found(l, &index[i]);
        doubles += i > 0 && strcmp(index[i - 1].id, index[i].id) == 0;
    }
    free(index);
    return doubles;
}

uint64_t
load_check_stored(const struct load *l, const char *data_dir)
{
    struct journal j;
    uint64_t doubles;

    journal_load(data_dir, false, &j);
    doubles = load_check_journal(l, &j);
    journal_free(&j);
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

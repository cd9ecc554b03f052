/* Which address comes next, by what each has done before. Invariant: at most one address of a
 * dialer is the one that connected last. */
#include "common/backoff.h"
#include "common/dial_state.h"

#include <stdatomic.h>
#include <unistd.h>

/* In the order of preference. */
enum dial_rank {
    DIAL_KEPT,    /* it connected last */
    DIAL_FRESH,   /* nothing speaks against it */
    DIAL_RESTING, /* it has failed lately */
    DIAL_SPENT,   /* it has failed in this round */
};

/* --- records --- */

void
dial_record_failure(const struct dialer *d, struct dial_record *record)
{
    uint32_t random;

    ms_random(&random, sizeof(random));
    record->rest_us =
        clock_mono_us() + backoff_us(DIAL_REST_MS, DIAL_REST_MAX_MS, record->failures, random);
    record->failures++;
    record->round = d->round;
}

static struct dial_address *
dial_worked(const struct dialer *d)
{
    const struct dial_server *s = &d->servers[d->last];

    for (unsigned i = 0; i < s->count; i++)
        if (s->list[i].worked)
            return &s->list[i];
    return NULL;
}

void
dial_has_worked(struct dialer *d, struct dial_address *won)
{
    struct dial_address *before = dial_worked(d);

    if (before != NULL)
        before->worked = false;
    won->worked = true;
    for (unsigned i = 0; i < d->count; i++)
        for (unsigned k = 0; k < d->servers[i].count; k++)
            if (&d->servers[i].list[k] == won)
                d->last = i;
}

void
dial_proved(struct dialer *d)
{
    struct dial_address *a = dial_worked(d);

    if (a != NULL)
        a->record = (struct dial_record){.failures = 0};
}

void
dial_failed(struct dialer *d)
{
    struct dial_address *a = dial_worked(d);

    if (a == NULL)
        return;
    a->worked = false;
    dial_record_failure(d, &a->record);
}

const struct endpoint *
dial_endpoint(const struct dialer *d)
{
    const struct dial_address *a = dial_worked(d);

    return a != NULL ? &a->at : NULL;
}

const char *
dial_name(const struct dialer *d)
{
    return d->servers[d->last].name;
}

/* --- calls and rounds --- */

void
dial_begin_round(struct dialer *d)
{
    d->round++;
}

void
dial_begin_call(struct dialer *d)
{
    d->round++;
    if (!d->has_failed)
        return;
    d->has_failed = false;
    for (unsigned i = 0; i < d->count; i++)
        d->servers[i].why[0] = '\0';
}

bool
dial_has_other(const struct dialer *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        const struct dial_server *s = &d->servers[i];

        if (s->record.round == d->round)
            continue;
        if (s->count == 0)
            return true;
        for (unsigned k = 0; k < s->count; k++)
            if (s->list[k].record.round != d->round)
                return true;
    }
    return false;
}

/* --- orders --- */

int
dial_read_pick(const struct url *url, enum dial_pick *pick_out)
{
    static const char *const words[] = {
        [DIAL_FIRST] = "first", [DIAL_RANDOM] = "random", [DIAL_SPREAD] = "spread"};
    const char *word = url_option(url, "pick");

    for (unsigned i = 0; i < MS_ARRAY_LEN(words); i++)
        if (strcmp(word != NULL ? word : words[DIAL_FIRST], words[i]) == 0) {
            *pick_out = (enum dial_pick)i;
            return 0;
        }
    return -1;
}

/* The number of the next choice in this process, which begins with any: processes that make one
 * choice each spread as well, and so do the children of one that forks. */
static uint32_t
dial_next_turn(void)
{
    static _Atomic uint64_t turns; /* below the pid of the process */
    uint64_t pid = (uint64_t)getpid() << 32, before = atomic_load(&turns);
    uint32_t first, turn;

    ms_random(&first, sizeof(first));
    do
        turn = before >> 32 << 32 == pid ? (uint32_t)before : first;
    while (!atomic_compare_exchange_weak(&turns, &before, pid | (uint32_t)(turn + 1)));
    return turn;
}

static void
dial_shuffle(uint8_t *order, unsigned n)
{
    for (; n > 1; n--) {
        uint8_t last = order[n - 1];
        uint32_t random, at;

        ms_random(&random, sizeof(random));
        at = random % n;
        order[n - 1] = order[at];
        order[at] = last;
    }
}

/* What stands at turn comes first, and the others behind it by chance: where it fails, those that
 * chose it spread over the others. */
static void
dial_make_order(enum dial_pick pick, uint32_t turn, uint8_t *order, unsigned n)
{
    unsigned first = 0;

    for (unsigned i = 0; i < n; i++)
        order[i] = (uint8_t)i;
    switch (pick) {
    case DIAL_FIRST:
        return;
    case DIAL_RANDOM:
        break;
    case DIAL_SPREAD:
        order[0] = (uint8_t)(turn % n);
        order[turn % n] = 0;
        first = 1;
        break;
    }
    dial_shuffle(order + first, n - first);
}

void
dial_arrange(struct dialer *d)
{
    bool is_first = d->begun == 0; /* an earlier race would have begun some */

    if (!is_first && (d->pick != DIAL_SPREAD || dial_worked(d) != NULL))
        return;
    if (d->pick == DIAL_SPREAD)
        d->turn = dial_next_turn();
    dial_make_order(d->pick, d->turn, d->order, d->count);
}

void
dial_arrange_name(const struct dialer *d, uint8_t order_out[DIAL_MAX], unsigned n)
{
    dial_make_order(d->pick, d->turn / d->count, order_out, n);
}

/* --- the choice --- */

struct dial_weight {
    enum dial_rank rank;
    uint64_t rest_us;
};

static struct dial_weight
dial_weigh(const struct dialer *d, const struct dial_record *record, uint64_t now_us)
{
    if (record->round == d->round)
        return (struct dial_weight){DIAL_SPENT, record->rest_us};
    if (record->rest_us > now_us)
        return (struct dial_weight){DIAL_RESTING, record->rest_us};
    return (struct dial_weight){DIAL_FRESH, 0};
}

static struct dial_weight
dial_weigh_address(const struct dialer *d, const struct dial_address *a, uint64_t now_us)
{
    struct dial_weight w = dial_weigh(d, &a->record, now_us);

    if (a->worked && w.rank == DIAL_FRESH && (d->pick != DIAL_FIRST || d->count == 1))
        w.rank = DIAL_KEPT;
    return w;
}

static bool
dial_is_better(struct dial_weight a, struct dial_weight b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.rest_us < b.rest_us;
}

/* The address of a server that comes next; NULL: none is left. */
static struct dial_address *
dial_choose_address(const struct dialer *d, const struct dial_server *s, uint64_t now_us,
                    struct dial_weight *weight_out)
{
    struct dial_address *best = NULL;

    for (unsigned i = 0; i < s->count; i++) {
        struct dial_address *a = &s->list[i];
        struct dial_weight w = dial_weigh_address(d, a, now_us);

        if (s->state == DIAL_FOUND && a->tried)
            continue;
        if (best != NULL && !dial_is_better(w, *weight_out) &&
            !(a->worked && w.rank == weight_out->rank))
            continue;
        best = a;
        *weight_out = w;
    }
    return best;
}

/* What a server has to offer; false: nothing. Before its turn it is what is known of it. */
static bool
dial_offers(const struct dialer *d, struct dial_server *s, uint64_t now_us,
            struct dial_choice *choice_out, struct dial_weight *weight_out)
{
    struct dial_weight w = dial_weigh(d, &s->record, now_us);
    struct dial_address *a = NULL;

    if (s->state == DIAL_ASKING || s->state == DIAL_UNFOUND)
        return false;
    if (w.rank == DIAL_FRESH)
        a = dial_choose_address(d, s, now_us, &w);
    if (s->state == DIAL_FOUND && a == NULL)
        return false;
    *weight_out = w;
    *choice_out = (struct dial_choice){
        .server = s, .address = s->state == DIAL_FOUND ? a : NULL, .rests = w.rank >= DIAL_RESTING};
    return true;
}

struct dial_choice
dial_choose(struct dialer *d)
{
    struct dial_choice best = {.server = NULL}, one;
    struct dial_weight best_weight = {.rank = DIAL_SPENT}, w;
    uint64_t now_us = clock_mono_us();

    for (unsigned i = 0; i < d->count; i++) {
        if (!dial_offers(d, &d->servers[d->order[i]], now_us, &one, &w))
            continue;
        if (best.server != NULL && !dial_is_better(w, best_weight))
            continue;
        best = one;
        best_weight = w;
    }
    return best;
}

unsigned
dial_left(const struct dialer *d)
{
    unsigned n = 0;

    for (unsigned i = 0; i < d->count; i++) {
        const struct dial_server *s = &d->servers[i];

        n += s->state == DIAL_NEW;
        for (unsigned k = 0; s->state == DIAL_FOUND && k < s->count; k++)
            n += !s->list[k].tried;
    }
    return n;
}

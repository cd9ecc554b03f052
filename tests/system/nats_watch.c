/* A thread for each server, since each may die; an answer that several have heard has one inbox. */
#include "nats_watch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WATCH_MS 100

struct heard {
    uint64_t seq;
    char inbox[NATS_SUBJECT_SIZE];
};

struct watcher {
    struct nats_watch *watch;
    struct nats server;
    pthread_t thread;
    struct heard *heard;
    size_t count, cap;
};

struct nats_watch {
    _Atomic bool stop;
    struct watcher watchers[NATS_CLUSTER];
};

/* {"stream":"S","seq":42}; a duplicate has the number of its first copy. */
static void
watcher_note(struct watcher *w, const char *body, const char *inbox)
{
    const char *seq = strstr(body, "\"seq\":");

    if (strncmp(body, "{\"stream\":", 10) != 0 || seq == NULL || strstr(body, "duplicate") != NULL)
        return;
    if (w->count == w->cap) {
        w->cap = 2 * w->cap + 1024;
        w->heard = realloc(w->heard, w->cap * sizeof(*w->heard));
        if (w->heard == NULL)
            abort();
    }
    w->heard[w->count].seq = strtoull(seq + strlen("\"seq\":"), NULL, 10);
    memcpy(w->heard[w->count++].inbox, inbox, NATS_SUBJECT_SIZE);
}

static void
watcher_listen(struct watcher *w, struct nats_client *c)
{
    char inbox[NATS_SUBJECT_SIZE] = "";

    c->answer_ms = WATCH_MS;
    while (!w->watch->stop && !c->is_lost) {
        char *body = nats_next(c, inbox);

        if (body != NULL)
            watcher_note(w, body, inbox);
        free(body);
    }
}

static void *
watcher_main(void *arg)
{
    struct watcher *w = arg;
    struct nats_client c;

    while (!w->watch->stop) {
        struct timespec nap = {.tv_nsec = 5000000};

        if (nats_open(&c, &w->server)) {
            if (nats_subscribe(&c, "_INBOX.>"))
                watcher_listen(w, &c);
            nats_close(&c);
        }
        nanosleep(&nap, NULL);
    }
    return NULL;
}

struct nats_watch *
nats_watch_start(const struct nats n[NATS_CLUSTER])
{
    struct nats_watch *watch = calloc(1, sizeof(*watch));

    assert_non_null(watch);
    for (unsigned i = 0; i < NATS_CLUSTER; i++) {
        struct watcher *w = &watch->watchers[i];

        w->watch = watch;
        w->server = n[i];
        assert_int_equal(pthread_create(&w->thread, NULL, watcher_main, w), 0);
    }
    return watch;
}

static int
compare_heard(const void *a, const void *b)
{
    const struct heard *one = a, *other = b;

    if (one->seq != other->seq)
        return one->seq < other->seq ? -1 : 1;
    return strcmp(one->inbox, other->inbox);
}

static uint64_t
number_that_was_lost(struct heard *all, size_t count, uint64_t last)
{
    qsort(all, count, sizeof(*all), compare_heard);
    for (size_t i = 1; i < count; i++)
        if (all[i].seq == all[i - 1].seq && strcmp(all[i].inbox, all[i - 1].inbox) != 0)
            return all[i].seq;
    return count > 0 && all[count - 1].seq > last ? all[count - 1].seq : 0;
}

uint64_t
nats_watch_stop(struct nats_watch *watch, uint64_t last)
{
    struct heard *all;
    size_t count = 0;
    uint64_t lost;

    watch->stop = true;
    for (unsigned i = 0; i < NATS_CLUSTER; i++) {
        pthread_join(watch->watchers[i].thread, NULL);
        count += watch->watchers[i].count;
    }
    all = calloc(count + 1, sizeof(*all));
    assert_non_null(all);
    count = 0;
    for (unsigned i = 0; i < NATS_CLUSTER; i++) {
        struct watcher *w = &watch->watchers[i];

        memcpy(all + count, w->heard, w->count * sizeof(*all));
        count += w->count;
        free(w->heard);
    }
    lost = number_that_was_lost(all, count, last);
    print_message("%zu answers of servers heard\n", count);
    free(all);
    free(watch);
    return lost;
}

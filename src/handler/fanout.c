/* A message is published first and given to the connections here afterwards: so it is sent as a
 * whole or not at all, and whoever leaves this worker has got all that this worker had published by
 * then. */
#include "handler/handler.h"

#include "bus/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define FANOUT_WAIT_NS 1000000

struct fanout {
    struct handler_host host;
    struct conn *adopting; /* gets by replay what the others get now; or NULL */
};

static void
fanout_push_all(struct fanout *f, const struct conn *except, const void *data, size_t n)
{
    const struct handler_host *host = &f->host;
    struct blob *blob = blob_create(host->store, data, n);
    struct conn *c = NULL;

    while (blob != NULL && (c = host->next_conn(host->ctx, host->instance, c)) != NULL)
        if (c != except)
            (void)host->push(host->ctx, c, blob);
    blob_unref(blob);
}

static void
fanout_deliver(void *arg, const void *data, size_t n)
{
    struct fanout *f = arg;

    fanout_push_all(f, f->adopting, data, n);
}

static void
fanout_replayed(void *arg, const void *data, size_t n)
{
    struct fanout *f = arg;
    struct blob *blob = blob_create(f->host.store, data, n);

    if (blob != NULL)
        (void)f->host.push(f->host.ctx, f->adopting, blob);
    blob_unref(blob);
}

struct fanout *
fanout_create(const struct handler_host *host)
{
    struct fanout *f = ms_calloc(1, sizeof(*f));

    f->host = *host;
    if (host->bus != NULL)
        bus_subscribe(host->bus, host->bus_channel, fanout_deliver, f);
    return f;
}

void
fanout_destroy(struct fanout *f)
{
    if (f == NULL)
        return;
    if (f->host.bus != NULL)
        bus_unsubscribe(f->host.bus, f->host.bus_channel);
    free(f);
}

int
fanout_send(struct fanout *f, struct conn *except, const void *data, size_t n)
{
    const struct handler_host *host = &f->host;

    if (n > BUS_MESSAGE_MAX) {
        errno = EMSGSIZE;
        return -1;
    }
    if (host->bus != NULL &&
        bus_publish(host->bus, host->bus_channel, NULL, 0, data, n, clock_mono_us()) < 0)
        return -1;
    fanout_push_all(f, except, data, n);
    return 0;
}

static void
fanout_hear(struct fanout *f, bool all)
{
    uint64_t lost;

    if (f->host.bus == NULL)
        return;
    lost = bus_dispatch(f->host.bus, all);
    if (lost > 0)
        f->host.lost(f->host.ctx, lost);
}

void
fanout_heard(struct fanout *f)
{
    fanout_hear(f, false);
}

void
fanout_wait(struct fanout *f)
{
    struct timespec ts = {0, FANOUT_WAIT_NS};

    fanout_hear(f, true);
    if (f->host.bus != NULL)
        bus_ring(f->host.bus);
    nanosleep(&ts, NULL);
}

/* Messages beyond the mark are left to the worker that c goes to. Read now, they would be pushed to
 * c, which has nothing more to send. */
size_t
fanout_moving(struct fanout *f, const struct conn *c, void *out, size_t size)
{
    (void)c;
    return f->host.bus != NULL ? bus_mark(f->host.bus, out, size) : 0;
}

/* Afterwards this worker has read at least as far as the one that made the mark, so that c misses
 * nothing between the two and gets nothing twice. */
void
fanout_adopted(struct fanout *f, struct conn *c, const void *data, size_t n)
{
    if (f->host.bus == NULL)
        return;
    f->adopting = c;
    fanout_hear(f, true);
    if (bus_replay(f->host.bus, f->host.bus_channel, data, n, fanout_replayed, f) < 0)
        f->host.lost(f->host.ctx, 1);
    f->adopting = NULL;
}

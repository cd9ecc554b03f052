#include "handler/exec/exec.h"

#include "common/be.h"
#include "common/fd.h"

void
exec_feed_init(struct exec_feed *feed, const struct message *m, bool framed)
{
    *feed = (struct exec_feed){.m = m};
    if (!framed)
        return;
    MS_ASSERT(m->size <= UINT32_MAX);
    be32_store(feed->head, (uint32_t)m->size);
    feed->head_len = sizeof(feed->head);
}

static uint64_t
exec_feed_left(const struct exec_feed *feed)
{
    return feed->m == NULL ? 0 : feed->head_len + feed->m->size - feed->at;
}

bool
exec_feed_done(const struct exec_feed *feed)
{
    return exec_feed_left(feed) == 0;
}

/* A small message goes out together with its length: one write, and the child wakes up once. */
static size_t
exec_feed_copy_head(const struct exec_feed *feed, char *chunk)
{
    size_t n = feed->head_len - (size_t)feed->at;

    memcpy(chunk, feed->head + feed->at, n);
    return n;
}

ssize_t
exec_feed_next(const struct exec_feed *feed, char *chunk, size_t chunk_size, const char **data_out)
{
    const struct message *m = feed->m;
    size_t head = feed->at < feed->head_len ? exec_feed_copy_head(feed, chunk) : 0;
    uint64_t at = feed->at + head - feed->head_len, left = m->size - at;
    size_t part = left < chunk_size - head ? (size_t)left : chunk_size - head;

    *data_out = chunk;
    if (part == 0)
        return (ssize_t)head;
    if (m->fd >= 0) {
        if (fd_pread_all(m->fd, chunk + head, part, (off_t)at) < 0)
            return -1;
    } else if (head > 0) {
        memcpy(chunk + head, m->mem + at, part);
    } else {
        *data_out = m->mem + at;
    }
    return (ssize_t)(head + part);
}

void
exec_feed_take(struct exec_feed *feed, size_t n)
{
    MS_ASSERT(n <= exec_feed_left(feed));
    feed->at += n;
}

/* What goes to a child and what comes from it, apart from the pipes. */
#include "handler/exec/exec.h"

#include "common/fd.h"

#include <errno.h>

/* --- exec answer --- */

void
exec_answer_init(struct exec_answer *answer, bool framed, struct message_store *store)
{
    *answer = (struct exec_answer){.framed = framed};
    if (store == NULL)
        return;
    answer->reply = message_create(store, 0, PROTO_REPLY_MAX, 0);
    message_skip_digest(answer->reply);
    answer->reply->wants_crc = true;
}

void
exec_answer_fini(struct exec_answer *answer)
{
    message_destroy(answer->reply);
    answer->reply = NULL;
}

struct blob *
exec_answer_reply(struct exec_answer *answer)
{
    errno = 0;
    if (answer->reply == NULL || answer->reply->size == 0)
        return NULL;
    message_finish(answer->reply);
    return blob_of_message(answer->reply);
}

static void
exec_answer_keep(struct exec_answer *answer, const void *data, size_t n)
{
    size_t room = answer->len < sizeof(answer->text) ? sizeof(answer->text) - answer->len : 0;

    if (answer->refused)
        memcpy(answer->text + sizeof(answer->text) - room, data, n < room ? n : room);
    else if (answer->reply != NULL)
        message_append(answer->reply, data, n);
    answer->len += n;
}

static size_t
exec_answer_head(struct exec_answer *answer, const uint8_t *data, size_t n)
{
    size_t missing = sizeof(answer->head) - answer->head_len;
    size_t part = n < missing ? n : missing;

    memcpy(answer->head + answer->head_len, data, part);
    answer->head_len += (uint8_t)part;
    if (answer->head_len == sizeof(answer->head)) {
        uint32_t length = be32_load(answer->head);

        answer->refused = (length & EXEC_ANSWER_REFUSED) != 0;
        answer->body_len = length & ~EXEC_ANSWER_REFUSED;
    }
    return part;
}

static enum exec_answer_is
exec_answer_feed_framed(struct exec_answer *answer, const uint8_t *data, size_t n,
                        size_t *consumed_out)
{
    size_t head = exec_answer_head(answer, data, n), part;

    *consumed_out = head;
    if (answer->head_len < sizeof(answer->head))
        return EXEC_ANSWER_MORE;
    if (answer->body_len > (answer->refused ? EXEC_ANSWER_REFUSAL_MAX : PROTO_REPLY_MAX))
        return EXEC_ANSWER_BAD;
    part = answer->body_len - (size_t)answer->len;
    if (part > n - head)
        part = n - head;
    exec_answer_keep(answer, data + head, part);
    *consumed_out = head + part;
    return answer->len == answer->body_len ? EXEC_ANSWER_WHOLE : EXEC_ANSWER_MORE;
}

enum exec_answer_is
exec_answer_feed(struct exec_answer *answer, const void *data, size_t n, size_t *consumed_out)
{
    if (answer->framed)
        return exec_answer_feed_framed(answer, data, n, consumed_out);
    *consumed_out = n;
    if (answer->len + n > PROTO_REPLY_MAX)
        return EXEC_ANSWER_BAD;
    exec_answer_keep(answer, data, n);
    return EXEC_ANSWER_MORE;
}

/* --- exec feed --- */

void
exec_feed_init(struct exec_feed *feed, const struct message *m, bool framed)
{
    *feed = (struct exec_feed){.m = m};
    if (m->fd >= 0 && m->has_sha256)
        feed->digest = sha256_begin(m->store->digester);
    if (!framed)
        return;
    MS_ASSERT(m->size <= UINT32_MAX);
    be32_store(feed->head, (uint32_t)m->size);
    feed->head_len = sizeof(feed->head);
}

void
exec_feed_fini(struct exec_feed *feed)
{
    if (feed->digest != NULL)
        sha256_release(feed->m->store->digester, feed->digest);
    *feed = (struct exec_feed){0};
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

/* Are the last n bytes of the body, behind those that were taken, the end of what it was? */
static bool
exec_feed_is_sound(const struct exec_feed *feed, const char *data, size_t n)
{
    const struct message *m = feed->m;
    uint8_t sha256[SHA256_LEN];
    struct sha256 *all;

    if (feed->digest == NULL)
        return true;
    all = sha256_begin(m->store->digester);
    sha256_copy(all, feed->digest);
    sha256_update(all, data, n);
    sha256_finish(all, sha256);
    sha256_release(m->store->digester, all);
    return memcmp(sha256, m->sha256, SHA256_LEN) == 0;
}

static int
exec_feed_read(const struct exec_feed *feed, char *data, size_t n, uint64_t at)
{
    const struct message *m = feed->m;

    if (fd_pread_all(m->fd, data, n, (off_t)at) < 0)
        return -1;
    if (at + n < m->size || exec_feed_is_sound(feed, data, n))
        return 0;
    errno = EBADMSG;
    return -1;
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
        if (exec_feed_read(feed, chunk + head, part, at) < 0)
            return -1;
    } else if (head > 0) {
        memcpy(chunk + head, m->mem + at, part);
    } else {
        *data_out = m->mem + at;
    }
    return (ssize_t)(head + part);
}

void
exec_feed_take(struct exec_feed *feed, const char *data, size_t n)
{
    size_t head = feed->at < feed->head_len ? feed->head_len - (size_t)feed->at : 0;

    MS_ASSERT(n <= exec_feed_left(feed));
    feed->at += n;
    if (feed->digest != NULL && n > head)
        sha256_update(feed->digest, data + head, n - head);
}

/* --- exec tail --- */

void
exec_tail_init(struct exec_tail *tail)
{
    tail->line_len = tail->last_len = 0;
}

void
exec_tail_end(struct exec_tail *tail, exec_tail_line_fn said, void *arg)
{
    if (tail->line_len > 0 && tail->line[tail->line_len - 1] == '\r')
        tail->line_len--;
    if (tail->line_len == 0)
        return;
    memcpy(tail->last, tail->line, tail->line_len);
    tail->last_len = tail->line_len;
    tail->line_len = 0;
    said(arg, tail->last, tail->last_len);
}

static void
exec_tail_add(struct exec_tail *tail, const char *data, size_t n)
{
    size_t room = EXEC_TAIL_MAX - tail->line_len;
    size_t part = n < room ? n : room;

    memcpy(tail->line + tail->line_len, data, part);
    tail->line_len += part;
}

void
exec_tail_feed(struct exec_tail *tail, const char *data, size_t n, exec_tail_line_fn said,
               void *arg)
{
    while (n > 0) {
        const char *end = memchr(data, '\n', n);
        size_t part = end != NULL ? (size_t)(end - data) : n;

        exec_tail_add(tail, data, part);
        if (end == NULL)
            return;
        exec_tail_end(tail, said, arg);
        data += part + 1;
        n -= part + 1;
    }
}

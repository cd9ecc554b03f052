/* A message while it grows, in memory or in a file.
 * Invariant: the store's ledger counts the memory of each message. */
#include "proto/message.h"

#include "common/fd.h"
#include "common/thread.h"
#include "proto/opening.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_ALLOCATION 2048 /* a size from the wire earns no more than this at once */
#define SMALL            4096 /* stays in memory also where that is scarce */
#define MESSAGE_COST     (sizeof(struct message) + 512) /* with its running digest */
#define DISK_STEP        (1u << 20) /* is set aside at a time where no size was announced */
#define FILE_STEP        (8u << 20) /* a file is written back, and more set aside, this often */

const char *
message_kind_name(enum message_kind kind)
{
    switch (kind) {
    case MESSAGE_PLAIN:
        return "plain";
    case MESSAGE_JSON:
        return "json";
    case MESSAGE_FILE:
        return "file";
    }
    return "plain";
}

static void
message_free_memory(struct message *m)
{
    ledger_give(&m->store->ledger, m->mem_cap);
    free(m->mem);
    m->mem = NULL;
    m->mem_len = m->mem_cap = 0;
}

static int
message_reserve(struct message *m, uint64_t end)
{
    uint64_t bytes = m->announced >= end ? m->announced : (end / DISK_STEP + 1) * DISK_STEP;

    if (end <= m->disk || m->store->disk_reserve == NULL)
        return 0;
    m->error = m->store->disk_reserve(m->store->spill_arg, m, bytes);
    return m->error != 0 ? -1 : 0;
}

static void
message_wrote(struct message *m, uint64_t end)
{
    if (end <= m->file_end)
        return;
    if (m->disk > 0)
        m->store->disk_promised -= end - m->file_end;
    m->file_end = end;
}

/* The file may live on, as a blob: it is somebody else's then. */
static void
message_release_disk(struct message *m)
{
    if (m->disk == 0)
        return;
    m->store->disk_promised -= m->disk - m->file_end;
    m->store->disk_release(m->store->spill_arg, m);
    m->disk = 0;
}

void
message_store_close(struct message_store *store, int *fd)
{
    if (store->spill_close != NULL) {
        store->spill_close(store->spill_arg, fd_steal(fd));
        return;
    }
    ledger_give_descriptor(&store->ledger);
    fd_close(fd);
}

static void
message_close_file(struct message *m)
{
    message_release_disk(m);
    if (m->fd >= 0)
        message_store_close(m->store, &m->fd);
}

void
message_destroy(struct message *m)
{
    if (m == NULL)
        return;
    message_free_memory(m);
    opening_destroy(m->opening);
    json_release(m);
    message_close_file(m);
    sha256_release(m->store->digester, m->digest);
    sha256_release(m->store->digester, m->mark_digest);
    ledger_give(&m->store->ledger, MESSAGE_COST + m->value_cost);
    free(m->value);
    free(m);
}

struct message *
message_create(struct message_store *store, uint64_t size_hint, uint64_t keep_max, uint64_t now_us)
{
    struct message *m = ms_calloc(1, sizeof(*m));

    if (m == NULL)
        return NULL;
    ledger_take(&store->ledger, MESSAGE_COST);
    m->store = store;
    m->keep_max = keep_max;
    m->begun_us = now_us;
    m->fd = -1;
    m->kind = MESSAGE_PLAIN;
    m->announced = size_hint;
    m->size_hint = size_hint < FIRST_ALLOCATION ? (uint32_t)size_hint : FIRST_ALLOCATION;
    m->digest = sha256_begin(store->digester);
    if (m->digest != NULL)
        return m;
    message_destroy(m);
    return NULL;
}

void
message_move(struct message *m, struct message_store *store)
{
    MS_ASSERT(m->digest == NULL && m->mark_digest == NULL);
    ledger_give(&m->store->ledger, MESSAGE_COST + m->mem_cap + m->value_cost);
    ledger_take(&store->ledger, MESSAGE_COST + m->mem_cap + m->value_cost);
    if (m->fd >= 0) {
        ledger_give_descriptor(&m->store->ledger);
        ledger_take_descriptor(&store->ledger);
    }
    m->store = store;
}

void
message_skip_digest(struct message *m)
{
    MS_ASSERT(m->size == 0);
    sha256_release(m->store->digester, m->digest);
    m->digest = NULL;
}

void
message_drop_body(struct message *m)
{
    message_free_memory(m);
    message_close_file(m);
    m->body_dropped = true;
}

static int
message_grow(struct message *m, size_t need)
{
    size_t cap = m->mem_cap != 0 ? m->mem_cap * 2 : m->size_hint;
    char *mem;

    if (need <= m->mem_cap)
        return 0;
    if (cap < need)
        cap = need;
    if (cap > m->store->memory_max && need <= m->store->memory_max)
        cap = m->store->memory_max;
    mem = realloc(m->mem, cap);
    if (mem == NULL) {
        ms_memory_note();
        return -1;
    }
    ledger_take(&m->store->ledger, cap - m->mem_cap);
    m->mem = mem;
    m->mem_cap = cap;
    return 0;
}

/* Of a message whose digest was skipped while it was in memory. Returns 0, or -1 with errno. */
static int
message_begin_digest(struct message *m)
{
    size_t mark = (size_t)m->mark_size;

    m->digest = sha256_begin(m->store->digester);
    if (m->digest == NULL)
        return -1;
    if (m->mem_len == 0)
        return 0;
    sha256_update(m->digest, m->mem, mark);
    if (mark > 0) {
        m->mark_digest = sha256_begin(m->store->digester);
        if (m->mark_digest == NULL)
            return -1;
        sha256_copy(m->mark_digest, m->digest);
    }
    sha256_update(m->digest, m->mem + mark, m->mem_len - mark);
    return 0;
}

static int
message_to_file(struct message *m)
{
    m->fd = m->store->spill_open(m->store->spill_arg);
    if (m->fd < 0)
        return -1;
    ledger_take_descriptor(&m->store->ledger);
    if (fd_pwrite_all(m->fd, m->mem, m->mem_len, 0) < 0)
        return -1;
    if (m->digest == NULL && message_begin_digest(m) < 0)
        return -1;
    if (m->wants_crc) {
        m->mark_crc = digest_crc32(0, m->mem, (size_t)m->mark_size);
        m->crc = digest_crc32(0, m->mem, m->mem_len);
    }
    message_wrote(m, m->mem_len);
    message_free_memory(m);
    return 0;
}

/* A file that will be fsynced is better on its way to the disk while the rest still arrives; and
 * blocks that it has before it is written cost the file system less. */
static void
message_step(struct message *m)
{
    uint64_t more = m->announced > m->file_end ? m->announced - m->file_end : 0;

    if (m->file_end < m->written_back + FILE_STEP)
        return;
    (void)sync_file_range(m->fd, (off_t)m->written_back, (off_t)(m->file_end - m->written_back),
                          SYNC_FILE_RANGE_WRITE);
    m->written_back = m->file_end;
    if (more > 0)
        (void)fallocate(m->fd, FALLOC_FL_KEEP_SIZE, (off_t)m->file_end,
                        (off_t)(more < FILE_STEP ? more : FILE_STEP));
}

static bool
message_fits_memory(const struct message *m, uint64_t size)
{
    const struct message_store *store = m->store;

    return size <= store->memory_max && (!ledger_is_scarce(&store->ledger) || size <= SMALL);
}

/* The one that keeps the body. */
static const struct message *
message_keeper(const struct message *m)
{
    return m->opening != NULL ? opening_plain(m->opening) : m;
}

bool
message_takes_memory(const struct message *m)
{
    const struct message *keeper = message_keeper(m);

    return keeper->fd < 0 && !keeper->is_over;
}

bool
message_needs_file(const struct message *m, uint64_t n)
{
    if (m->opening != NULL)
        return message_needs_file(opening_plain(m->opening), n + SEAL_CHUNK);
    return m->fd < 0 && !m->is_over && m->error == 0 && !message_fits_memory(m, m->size + n);
}

static int
message_store_bytes(struct message *m, const void *data, size_t n)
{
    if (m->fd < 0 && message_fits_memory(m, m->size + n)) {
        if (message_grow(m, m->size + n) < 0)
            return -1;
        memcpy(m->mem + m->size, data, n);
        m->mem_len = m->size + n;
        return 0;
    }
    if (message_reserve(m, m->size + n) < 0 || (m->fd < 0 && message_to_file(m) < 0))
        return -1;
    if (fd_pwrite_all(m->fd, data, n, (off_t)m->size) < 0)
        return -1;
    if (m->wants_crc)
        m->crc = digest_crc32(m->crc, data, n);
    message_wrote(m, m->size + n);
    message_step(m);
    return 0;
}

static void
message_keep(struct message *m, const void *data, size_t n)
{
    m->is_over = m->is_over || m->size + n > m->keep_max;
    if (!m->is_over && m->error == 0 && n > 0 && message_store_bytes(m, data, n) < 0 &&
        m->error == 0) {
        m->error = errno;
        if (m->store->failed != NULL)
            m->store->failed(m->store->spill_arg, m->error);
    }
}

void
message_append(struct message *m, const void *data, size_t n)
{
    if (m->opening == NULL) {
        message_keep(m, data, n);
    } else {
        opening_append(m->opening, data, n);
        m->error = opening_plain(m->opening)->error;
    }
    if (m->digest != NULL)
        sha256_update(m->digest, data, n);
    m->size += n;
}

bool
message_is_lost(const struct message *m)
{
    return m->error != 0 || (m->opening != NULL && opening_is_refused(m->opening));
}

bool
message_found_no_room(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

void
message_mark(struct message *m)
{
    if (m->is_over)
        message_drop_body(m);
    if (m->opening != NULL)
        opening_mark(m->opening);
    m->mark_size = m->size;
    m->mark_crc = m->crc;
    if (m->size == 0 || m->digest == NULL)
        return;
    if (m->mark_digest == NULL)
        m->mark_digest = sha256_begin(m->store->digester);
    if (m->mark_digest != NULL)
        sha256_copy(m->mark_digest, m->digest);
}

void
message_rollback(struct message *m)
{
    if (m->opening != NULL)
        opening_rollback(m->opening);
    m->size = m->mark_size;
    m->crc = m->mark_crc;
    m->is_over = m->body_dropped;
    if (m->fd < 0 && m->mem_len > m->size)
        m->mem_len = m->size;
    if (m->digest == NULL)
        return;
    if (m->size == 0)
        sha256_reset(m->store->digester, m->digest);
    else if (m->mark_digest != NULL)
        sha256_copy(m->digest, m->mark_digest);
}

void
message_peek(const struct message *m, uint8_t out[SHA256_LEN])
{
    sha256_peek(m->store->digester, m->digest, out);
}

void
message_finish(struct message *m)
{
    if (m->is_over)
        message_drop_body(m);
    m->has_sha256 = m->digest != NULL;
    if (m->has_sha256)
        sha256_finish(m->digest, m->sha256);
    sha256_release(m->store->digester, m->digest);
    sha256_release(m->store->digester, m->mark_digest);
    m->digest = m->mark_digest = NULL;
    /* What a rolled-back packet had written beyond the end, or was set aside for what was
     * announced. */
    if (m->fd >= 0 && (m->file_end > m->size || m->announced > m->size) &&
        ftruncate(m->fd, (off_t)m->size) < 0 && m->error == 0)
        m->error = errno;
}

void
message_like(struct message *made, const struct message *m)
{
    made->kind = m->kind;
    made->wants_reply = m->wants_reply;
    made->tag = m->tag;
    made->owner = m->owner;
    made->place = m->place;
    message_set_value(made, m->value, m->value_len);
}

char *
message_value_reserve(struct message *m, size_t n)
{
    MS_ASSERT(n <= UINT16_MAX);
    free(m->value);
    ledger_give(&m->store->ledger, m->value_cost);
    m->value_len = 0;
    m->value_cost = 0;
    m->value = ms_malloc(n + 1);
    if (m->value == NULL)
        return NULL;
    m->value_cost = (uint32_t)n + 1;
    ledger_take(&m->store->ledger, m->value_cost);
    m->value[n] = '\0';
    m->value_len = (uint16_t)n;
    return m->value;
}

void
message_set_value(struct message *m, const void *value, size_t n)
{
    char *to = message_value_reserve(m, n);

    m->name = 0;
    if (n > 0 && to != NULL)
        memcpy(to, value, n);
}

void
message_value_cut_front(struct message *m, size_t n)
{
    MS_ASSERT(n <= m->value_len);
    m->value_len = (uint16_t)(m->value_len - n);
    memmove(m->value, m->value + n, (size_t)m->value_len + 1);
}

/* What was written back to a disk that failed comes back as something else. The digester is not the
 * store's: this may run in a helper thread. */
static int
message_read_back(const struct message *m, char *body)
{
    struct digester *digester = digester_create();
    struct sha256 *digest = digester != NULL ? sha256_begin(digester) : NULL;
    uint8_t sha256[SHA256_LEN];
    int rc = digest != NULL ? 0 : -1;
    size_t n, at;

    for (at = 0; at < m->size && rc == 0; at += n) {
        n = m->size - at < THREAD_PIECE ? (size_t)m->size - at : THREAD_PIECE;
        rc = fd_pread_all(m->fd, body + at, n, (off_t)at);
        if (rc == 0 && m->has_sha256)
            sha256_update(digest, body + at, n);
        thread_give_way();
    }
    if (rc == 0)
        sha256_finish(digest, sha256);
    if (digester != NULL)
        sha256_release(digester, digest);
    digester_destroy(digester);
    if (rc == 0 && m->has_sha256 && memcmp(sha256, m->sha256, SHA256_LEN) != 0) {
        errno = EBADMSG;
        rc = -1;
    }
    return rc;
}

char *
message_copy_body(const struct message *m)
{
    size_t n = (size_t)m->size;
    char *copy;

    MS_ASSERT(!m->body_dropped);
    if (m->error != 0) {
        errno = m->error;
        return NULL;
    }
    copy = malloc(n + 1);
    if (copy == NULL)
        return NULL;
    copy[n] = '\0';
    if (m->fd < 0 && n > 0)
        memcpy(copy, m->mem, n);
    if (m->fd >= 0 && message_read_back(m, copy) < 0) {
        free(copy);
        return NULL;
    }
    return copy;
}

int
message_body(const struct message *m, const char **data_out)
{
    MS_ASSERT(!m->body_dropped);
    if (m->fd >= 0 || m->error != 0) {
        *data_out = message_copy_body(m);
        return *data_out != NULL ? 0 : -1;
    }
    *data_out = m->size > 0 ? m->mem : "";
    return 0;
}

void
message_body_release(const struct message *m, const char *data)
{
    if (m->fd >= 0)
        free((void *)(uintptr_t)data);
}

/* The threads, and what they have sent beside what is in the journals. */
#include "senders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME_SIZE 32
#define PATIENCE  (5000u * WAIT_SCALE)
#define BURST     16
#define BACK_OFF  50 /* ms, and up to: */
#define BACK_MAX  1000

/* --- messages --- */

/* Writes message number n of a sender, which begins with its name and a space. */
static size_t
body_make(const struct sender *s, uint64_t number, char *out)
{
    size_t size = number % 25 == 24 ? s->large : NAME_SIZE + number % 3000, n;

    n = (size_t)snprintf(out, NAME_SIZE, "s%u-%llu ", s->index, (unsigned long long)number);
    for (size_t i = n; i < size; i++)
        out[i] = (char)('a' + (i + number) % 26);
    return size;
}

static void
sender_acked(struct sender *s, uint64_t number)
{
    s->is_acked[number] = true;
    s->acked++;
}

static void
sender_failed(struct sender *s, uint64_t number, enum msock_status status)
{
    bool allowed = s->way == SENDER_CNP && status == MSOCK_GIVEN_UP;

    if (!allowed && s->complaint[0] == '\0')
        snprintf(s->complaint, sizeof(s->complaint), "message %llu: %s: %.500s",
                 (unsigned long long)number, msock_status_name(status), msock_error(s->m));
}

static void
sender_settled(void *arg, uint64_t number, enum msock_status status)
{
    struct sender *s = arg;

    if (status == MSOCK_OK)
        sender_acked(s, number);
    else
        sender_failed(s, number, status);
}

/* --- sending --- */

/* The file is written anew for each message. */
static enum msock_status
sender_send_file(struct sender *s, const char *name, size_t n)
{
    FILE *f = tmpfile();
    enum msock_status status = MSOCK_LOCAL;

    if (f == NULL)
        return status;
    if (fwrite(s->body, 1, n, f) == n && fflush(f) == 0 && fseek(f, 0, SEEK_SET) == 0)
        status = msock_send_fd(s->m, fileno(f), name);
    fclose(f);
    return status;
}

static enum msock_status
sender_send(struct sender *s)
{
    size_t n = body_make(s, s->sent, s->body);
    char name[NAME_SIZE] = "";

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(s->body, " "), s->body);
    if (s->way != SENDER_CNP && s->way != SENDER_FILES)
        (void)!msock_set_id(s->m, name, strlen(name));
    switch (s->way) {
    case SENDER_AHEAD:
        return msock_send_ahead(s->m, 'A', s->body, n);
    case SENDER_FILES:
        return sender_send_file(s, name, n);
    case SENDER_STRICT:
    case SENDER_CNP:
        break;
    }
    return msock_send(s->m, s->body, n);
}

static void
sender_pause(struct sender *s)
{
    struct timespec ts = {.tv_sec = s->pace_ms / 1000,
                          .tv_nsec = (long)(s->pace_ms % 1000) * 1000000};

    if (s->pace_ms == 0 || (s->way == SENDER_AHEAD && s->sent % BURST != 0))
        return;
    (void)!msock_flush(s->m, -1);
    nanosleep(&ts, NULL);
}

static void *
sender_main(void *arg)
{
    struct sender *s = arg;

    while (!s->stop && s->sent < SENDER_SENT_MAX && s->complaint[0] == '\0') {
        enum msock_status status = sender_send(s);

        if (s->way == SENDER_AHEAD) {
            if (status != MSOCK_OK)
                sender_failed(s, s->sent, status);
        } else if (status == MSOCK_OK) {
            sender_acked(s, s->sent);
        } else {
            sender_failed(s, s->sent, status);
        }
        s->sent++;
        sender_pause(s);
    }
    (void)!msock_flush(s->m, -1);
    msock_close(s->m);
    return NULL;
}

void
sender_start(struct sender *s, unsigned index, const char *url)
{
    char error[200];

    assert_in_range(s->large, NAME_SIZE, SENDER_BODY_MAX);
    s->index = index;
    snprintf(s->url, sizeof(s->url), "%s", url);
    if (msock_url_error(s->url, error, sizeof(error)) != MSOCK_OK)
        fail_msg("%s", error);
    s->m = msock_open(s->url);
    assert_non_null(s->m);
    msock_set_timeouts(s->m, PATIENCE, 6 * PATIENCE);
    if (s->retries > 0)
        msock_set_retries(s->m, s->retries, BACK_OFF, BACK_MAX);
    msock_set_settled(s->m, sender_settled, s);
    assert_int_equal(pthread_create(&s->thread, NULL, sender_main, s), 0);
}

static void
check_complaints(const struct sender *senders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (senders[i].complaint[0] != '\0')
            fail_msg("%s: %s", senders[i].url, senders[i].complaint);
}

uint64_t
senders_acked(const struct sender *senders, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += senders[i].acked;
    check_complaints(senders, count);
    return sum;
}

static bool
have_advanced(const struct sender *senders, size_t count, const uint64_t *wanted)
{
    for (size_t i = 0; i < count; i++)
        if (senders[i].acked < wanted[i] && senders[i].complaint[0] == '\0')
            return false;
    return true;
}

void
senders_advance(const struct sender *senders, size_t count, unsigned messages)
{
    uint64_t *wanted = calloc(count, sizeof(*wanted));

    assert_non_null(wanted);
    for (size_t i = 0; i < count; i++)
        wanted[i] = senders[i].acked + messages;
    WAIT_FOR(have_advanced(senders, count, wanted), 60000);
    free(wanted);
}

void
senders_stop(struct sender *senders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        senders[i].stop = true;
    for (size_t i = 0; i < count; i++)
        pthread_join(senders[i].thread, NULL);
    check_complaints(senders, count);
}

/* --- what is in the journals --- */

static int
compare_bodies(const void *a, const void *b)
{
    const struct entry *one = *(const struct entry *const *)a;
    const struct entry *other = *(const struct entry *const *)b;
    size_t n = strcspn(one->body, " "), k = strcspn(other->body, " ");
    int order = memcmp(one->body, other->body, n < k ? n : k);

    return order != 0 ? order : (n > k) - (n < k);
}

/* Its id or path, where the protocol carries one, is the name in its body. */
static bool
entry_is_named(const struct entry *e, const struct sender *s)
{
    const char *slash = strrchr(e->file, '/');
    const char *file = slash != NULL ? slash + 1 : e->file;
    const char *name = file[0] != '\0' ? file : e->key;
    size_t n = strcspn(e->body, " ");

    return s->way == SENDER_CNP || (strlen(name) == n && memcmp(name, e->body, n) == 0);
}

/* It is a message of one of the senders, as that has sent it. */
static void
check_entry(const struct entry *e, struct sender *senders, size_t count)
{
    unsigned long long number = 0;
    unsigned index = 0;
    struct sender *s;
    size_t n;

    if (sscanf(e->body, "s%u-%llu ", &index, &number) != 2 || index >= count ||
        number >= senders[index].sent)
        fail_msg("nobody has sent \"%.32s\"", e->body);
    s = &senders[index];
    n = body_make(s, number, s->body);
    if (!e->sound || !entry_is_named(e, s) || e->body_len != n || memcmp(e->body, s->body, n) != 0)
        fail_msg("%s: message %llu is not as it was sent: key %s, file %s, %zu bytes", s->url,
                 number, e->key, e->file, e->body_len);
}

static void
check_acked(struct sender *s, const struct entry **all, size_t count)
{
    for (uint64_t number = 0; number < s->sent; number++) {
        struct entry wanted = {.body = s->body}, *key = &wanted;
        char name[NAME_SIZE];

        if (!s->is_acked[number])
            continue;
        body_make(s, number, s->body);
        if (bsearch(&key, all, count, sizeof(*all), compare_bodies) != NULL)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(s->body, " "), s->body);
        if (s->was_lost == NULL || !s->was_lost(name))
            fail_msg("%s: message %u-%llu was acknowledged and is lost", s->url, s->index,
                     (unsigned long long)number);
    }
}

size_t
senders_check(struct sender *senders, size_t count, const struct journal *journals,
              size_t journal_count)
{
    const struct entry **all;
    size_t total = 0, n = 0, doubles = 0;

    for (size_t i = 0; i < journal_count; i++)
        total += journals[i].count;
    all = calloc(total + 1, sizeof(struct entry *));
    assert_non_null(all);
    for (size_t i = 0; i < journal_count; i++)
        for (size_t k = 0; k < journals[i].count; k++)
            all[n++] = &journals[i].entries[k];
    qsort(all, total, sizeof(*all), compare_bodies);
    for (size_t i = 0; i < total; i++) {
        check_entry(all[i], senders, count);
        doubles += i > 0 && compare_bodies(&all[i - 1], &all[i]) == 0;
    }
    for (size_t i = 0; i < count; i++)
        check_acked(&senders[i], all, total);
    print_message("%zu records, %zu of them doubles\n", total, doubles);
    free(all);
    return doubles;
}

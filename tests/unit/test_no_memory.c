/* libmsock in a program whose memory runs out: each allocation of both halves fails once, alone and
 * with all behind it, libcrypto's too. (jansson loses a byte of a string where it has no memory,
 * and says nothing, so its allocations do not fail here.) Nothing crashes, a call that fails says
 * MSOCK_LOCAL, and what was said to be there is there. */
#include "msock.h"
#include "msock_server.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_SIZE     300000
#define DOCUMENT_SIZE 70000
#define ALLOCATIONS   5000 /* no scenario has so many */
#define MESSAGES_MAX  1000000

/* --- allocations that fail --- */

/* The functions that --wrap gives these names. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

/* Of this thread: the allocation with this number fails, and as many in all. */
static _Thread_local struct {
    bool armed;
    unsigned at, count, failed, most;
} fault;

static void
fault_arm(unsigned at, unsigned most)
{
    fault.at = at;
    fault.most = most;
    fault.count = fault.failed = 0;
    fault.armed = true;
}

/* Whether one has failed. */
static bool
fault_disarm(void)
{
    bool failed = fault.armed && fault.failed > 0;

    fault.armed = false;
    return failed;
}

static bool
fault_now(void)
{
    if (!fault.armed || ++fault.count < fault.at || fault.failed == fault.most)
        return false;
    fault.failed++;
    errno = ENOMEM;
    return true;
}

void *
__wrap_malloc(size_t n)
{
    return fault_now() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return fault_now() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *p, size_t n)
{
    return fault_now() ? NULL : __real_realloc(p, n);
}

char *
__wrap_strdup(const char *s)
{
    return fault_now() ? NULL : __real_strdup(s);
}

static void *
crypto_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return n == 0 ? NULL : __wrap_malloc(n);
}

static void *
crypto_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return __wrap_realloc(p, n);
}

static void
crypto_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

/* --- a program that receives --- */

/* What it has committed, by the number that each message begins with. */
static _Atomic unsigned char committed[MESSAGES_MAX];

struct receiver {
    msock_server *server;
    pthread_t thread;
    unsigned fail_at, fail_most; /* 0: its memory is fine */
    char url[64];
    atomic_bool stop, failed;
};

static const char large_reply[(1 << 20) + 5000];

static void
receiver_take(msock_message *m)
{
    size_t n;
    const char *data = msock_message_data(m, &n);
    unsigned long number = data != NULL ? strtoul(data + strcspn(data, "0123456789"), NULL, 10) : 0;

    if (data == NULL) {
        msock_message_fail(m, "it cannot be read back");
        return;
    }
    if (number < MESSAGES_MAX)
        committed[number] = 1;
    /* Over frame, one that goes to a file where it is received. */
    if (strcmp(msock_message_protocol(m), "frame") == 0)
        msock_message_commit(m, large_reply, sizeof(large_reply));
    else
        msock_message_commit(m, "thanks", 6);
}

static void *
receiver_main(void *arg)
{
    struct receiver *r = arg;

    if (r->fail_at > 0)
        fault_arm(r->fail_at, r->fail_most);
    for (;;) {
        msock_message *m = NULL;
        enum msock_status status = msock_server_recv(r->server, -1, &m);

        if (status == MSOCK_OK)
            receiver_take(m);
        else if (status != MSOCK_LOCAL || r->stop)
            break;
    }
    r->failed = fault_disarm();
    return NULL;
}

static const struct way {
    const char *listener, *options; /* of the client's URL, and servers that are away */
    bool acknowledges;
} ways[] = {
    {"msp://127.0.0.1:0", "", true},
    {"frame://127.0.0.1:0", "", false},
    {"tinyproto://127.0.0.1:0?reply=yes", "", false},
    {"cnp://127.0.0.1:0?reply=yes&packet_size_max=4096", "", true},
    {"cnp://127.0.0.1:0?reply=yes", "?mode=burst", true},
    {"msp://127.0.0.1:0", ",127.0.0.1:1,localhost:1?pick=spread", true},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* False where there is no memory for it. */
static bool
receiver_start(struct receiver *r, const struct way *way, unsigned fail_at, unsigned fail_most)
{
    enum msock_status status;

    *r = (struct receiver){0};
    if (fail_at > 0)
        fault_arm(fail_at, fail_most);
    r->server = msock_server_create();
    status = r->server != NULL ? msock_server_add_listener(r->server, way->listener) : MSOCK_LOCAL;
    if (fault_disarm()) {
        msock_server_destroy(r->server);
        return false;
    }
    assert_int_equal(status, MSOCK_OK);
    r->fail_at = fail_at > fault.count ? fail_at - fault.count : 0;
    r->fail_most = fail_most;
    snprintf(r->url, sizeof(r->url), "%.*s://%s%s", (int)strcspn(way->listener, ":"), way->listener,
             msock_server_address(r->server, 0), way->options);
    assert_int_equal(pthread_create(&r->thread, NULL, receiver_main, r), 0);
    return true;
}

static void
receiver_stop(struct receiver *r)
{
    r->stop = true;
    msock_server_stop(r->server);
    pthread_join(r->thread, NULL);
    msock_server_destroy(r->server);
}

/* --- a program that sends --- */

static unsigned next_number;
static char file_path[64];

struct sender {
    const struct way *way;
    msock *m;
    bool spared; /* the sender has memory: what cannot be sent is the server's doing */
};

/* What a call that has sent number may return. */
static void
sender_expect(const struct sender *s, const char *call, unsigned number, enum msock_status status)
{
    bool lost = status == MSOCK_GIVEN_UP || status == MSOCK_UNREACHABLE || status == MSOCK_TIMEOUT;

    /* It was taken, and its reply was lost; over frame that may be the reply to the one before. */
    if (status == MSOCK_TIMEOUT && (committed[number] || !s->way->acknowledges))
        return;
    if (status != MSOCK_OK && !(s->spared ? lost : status == MSOCK_LOCAL))
        fail_msg("%s, %s: status %d: %s", s->way->listener, call, (int)status, msock_error(s->m));
    if (status == MSOCK_OK && s->way->acknowledges && !committed[number])
        fail_msg("%s, %s: message %u is not there", s->way->listener, call, number);
}

/* Of messages sent ahead. Where one had left it is not known, over all but msp, whether it came. */
static void
sender_expect_ahead(const struct sender *s, const char *call, enum msock_status status)
{
    if (status != MSOCK_GIVEN_UP || s->way == &ways[0])
        sender_expect(s, call, 0, status);
}

static void
sender_settled(void *arg, uint64_t number, enum msock_status status)
{
    (void)number;
    sender_expect_ahead(arg, "sent ahead", status);
}

/* Everything that allocates: all kinds of messages, a reply, messages sent ahead. */
static void
sender_run(struct sender *s, const char *url, const json_t *document, unsigned document_number)
{
    char text[32];
    unsigned number = next_number++;

    s->m = msock_open(url);
    if (s->m == NULL)
        return;
    /* Only a receiver without memory may fail to answer. */
    msock_set_timeouts(s->m, s->spared ? 150 : 60000, s->spared ? 150 : 60000);
    msock_set_retries(s->m, 2, 1, 2);
    snprintf(text, sizeof(text), "%u", number);
    sender_expect(s, "plain", number, msock_send(s->m, text, strlen(text)));
    sender_expect(s, "json", document_number, msock_send_json(s->m, document));
    msock_set_want_reply(s->m, 1);
    number = next_number++;
    snprintf(text, sizeof(text), "%u", number);
    sender_expect(s, "with a reply", number, msock_send(s->m, text, strlen(text)));
    msock_set_want_reply(s->m, 0);
    sender_expect(s, "file", 1, msock_send_file(s->m, file_path, "a/file"));
    msock_set_settled(s->m, sender_settled, s);
    for (unsigned i = 0; i < 3; i++) {
        number = next_number++;
        snprintf(text, sizeof(text), "%u", number);
        sender_expect_ahead(s, "ahead", msock_send_ahead(s->m, 'A', text, strlen(text)));
    }
    sender_expect_ahead(s, "flush", msock_flush(s->m, -1));
    msock_close(s->m);
}

/* A receiver has it parsed by another thread. */
static json_t *
make_document(unsigned number)
{
    static char text[DOCUMENT_SIZE];
    json_t *value;

    memset(text, 'x', sizeof(text) - 1);
    value = json_pack("{s:i, s:[s, f, n]}", "number", (int)number, "list", text, 1.5);

    assert_non_null(value);
    return value;
}

/* libcrypto crashes where its own first steps have no memory, so they are made before. */
static void
warm_up(const struct way *way, const char *url)
{
    struct sender s = {.way = way};
    unsigned number = next_number++;
    json_t *document = make_document(number);

    sender_run(&s, url, document, number);
    json_decref(document);
}

/* Fails the allocations of a sender one after the other. */
static void
sweep_sender(const struct way *way, unsigned most)
{
    struct receiver r;
    bool failed = true;

    assert_true(receiver_start(&r, way, 0, 0));
    warm_up(way, r.url);
    for (unsigned at = 1; failed; at++) {
        unsigned number = next_number++;
        struct sender s = {.way = way};
        json_t *document = make_document(number);

        fault_arm(at, most);
        sender_run(&s, r.url, document, number);
        failed = fault_disarm();
        json_decref(document);
        assert_true(at < ALLOCATIONS);
    }
    receiver_stop(&r);
}

static void
a_sender_without_memory_says_so(void **state)
{
    (void)state;
    for (size_t i = 0; i < WAYS; i++)
        sweep_sender(&ways[i], 1);
}

static void
a_sender_whose_memory_does_not_come_back_says_so(void **state)
{
    (void)state;
    for (size_t i = 0; i < WAYS; i++)
        sweep_sender(&ways[i], UINT32_MAX);
}

/* The same for a receiver; its sender has memory. */
static void
sweep_receiver(const struct way *way, unsigned most)
{
    struct receiver r;
    bool failed = true;

    assert_true(receiver_start(&r, way, 0, 0));
    warm_up(way, r.url);
    receiver_stop(&r);
    for (unsigned at = 1; failed; at += most) {
        unsigned number = next_number++;
        struct sender s = {.way = way, .spared = true};
        json_t *document;

        if (!receiver_start(&r, way, at, most))
            continue;
        document = make_document(number);
        sender_run(&s, r.url, document, number);
        json_decref(document);
        receiver_stop(&r);
        failed = r.failed;
        assert_true(at < ALLOCATIONS);
    }
}

static void
a_receiver_without_memory_ends_the_connection_and_goes_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < WAYS; i++)
        sweep_receiver(&ways[i], 1);
}

static void
a_receiver_without_memory_for_a_while_goes_on_afterwards(void **state)
{
    (void)state;
    for (size_t i = 0; i < WAYS; i++)
        sweep_receiver(&ways[i], 7);
}

static int
make_file(void **state)
{
    static char block[FILE_SIZE];
    int fd;

    (void)state;
    snprintf(file_path, sizeof(file_path), "/tmp/test_no_memory.%d", (int)getpid());
    memset(block, ' ', sizeof(block));
    block[0] = '1';
    fd = open(file_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    committed[0] = 1; /* what is sent ahead is not looked up */
    next_number = 2;
    return fd < 0 || write(fd, block, sizeof(block)) != FILE_SIZE || close(fd) < 0 ? -1 : 0;
}

static int
remove_file(void **state)
{
    (void)state;
    return unlink(file_path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sender_without_memory_says_so),
        cmocka_unit_test(a_sender_whose_memory_does_not_come_back_says_so),
        cmocka_unit_test(a_receiver_without_memory_ends_the_connection_and_goes_on),
        cmocka_unit_test(a_receiver_without_memory_for_a_while_goes_on_afterwards),
    };

    /* Before their first use. */
    if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1)
        return 1;
    return cmocka_run_group_tests(tests, make_file, remove_file);
}

#include "tls/tls.h"

#include "common/fd.h"
#include "support/certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY_S 86400

static char dir[] = "/tmp/msockd-tls.XXXXXX";
static time_t ahead_s;

/* As OpenSSL and the files of tls see it. */
time_t
time(time_t *out)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec + ahead_s;
    return now.tv_sec + ahead_s;
}

/* --- contexts and pairs of sessions --- */

static struct tls_pem
pem_of(const char *name, const char *authority)
{
    char cert[256], key[256], ca[256], error[TLS_ERROR_LEN];
    const char *path[TLS_PARTS] = {NULL};
    struct tls_pem pem;

    snprintf(cert, sizeof(cert), "%s/%s.pem", dir, name != NULL ? name : "");
    snprintf(key, sizeof(key), "%s/%s.key", dir, name != NULL ? name : "");
    snprintf(ca, sizeof(ca), "%s/%s.pem", dir, authority != NULL ? authority : "");
    path[TLS_CERT] = name != NULL ? cert : NULL;
    path[TLS_KEY] = name != NULL ? key : NULL;
    path[TLS_CA] = authority != NULL ? ca : NULL;
    if (tls_pem_read(path, &pem, error) < 0)
        fail_msg("%s", error);
    return pem;
}

static struct tls_context *
context_of(enum tls_role role, enum tls_verify verify, const char *name, const char *authority,
           const struct tls_secret *secret)
{
    struct tls_pem pem = pem_of(name, authority);
    const struct tls_setup setup = {
        .role = role, .verify = verify, .pem = &pem, .secret = secret, .allow_12 = true};
    char error[TLS_ERROR_LEN];
    struct tls_context *context = tls_context_create(&setup, error);

    if (context == NULL)
        fail_msg("%s", error);
    tls_pem_fini(&pem);
    return context;
}

struct pair {
    struct tls_context *contexts[2]; /* server, client */
    struct tls_session *server, *client;
    int fds[2];
};

static void
pair_open(struct pair *p, struct tls_context *server, struct tls_context *client, const char *name)
{
    *p = (struct pair){.contexts = {server, client}};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p->fds), 0);
    p->server = tls_session_create(server, p->fds[0], NULL);
    p->client = tls_session_create(client, p->fds[1], name);
    assert_non_null(p->server);
    assert_non_null(p->client);
}

static void
pair_close(struct pair *p)
{
    tls_session_destroy(p->server);
    tls_session_destroy(p->client);
    fd_close(&p->fds[0]);
    fd_close(&p->fds[1]);
    tls_context_destroy(p->contexts[0]);
    tls_context_destroy(p->contexts[1]);
}

/* Both sides in turn. Returns what the last one of each said: 0, or an errno. */
static void
pair_shake(struct pair *p, int *server_error, int *client_error)
{
    *server_error = *client_error = EAGAIN;
    for (unsigned i = 0; i < 20; i++) {
        if (*client_error == EAGAIN)
            *client_error = tls_handshake(p->client) < 0 ? errno : 0;
        if (*server_error == EAGAIN)
            *server_error = tls_handshake(p->server) < 0 ? errno : 0;
    }
}

static void
pair_agrees(struct pair *p)
{
    int server, client;

    pair_shake(p, &server, &client);
    if (server != 0 || client != 0)
        fail_msg("%s; %s", tls_error(p->server), tls_error(p->client));
}

static struct pair
pair_of(const char *server, const char *client, const char *name)
{
    struct pair p;

    pair_open(&p,
              context_of(TLS_SERVER, client != NULL ? TLS_VERIFY_PEER : TLS_VERIFY_NOBODY, server,
                         client != NULL ? "ca" : NULL, NULL),
              context_of(TLS_CLIENT, TLS_VERIFY_PEER, client, "ca", NULL), name);
    return p;
}

/* --- tests --- */

static void
bytes_come_through_in_both_directions(void **state)
{
    const struct iovec pieces[] = {{(char[]){'a', 'b'}, 2}, {(char[]){'c'}, 1}};
    struct pair p = pair_of("server", NULL, "localhost");
    char got[16];

    (void)state;
    pair_agrees(&p);
    assert_int_equal(tls_writev(p.client, pieces, 2), 3);
    assert_int_equal(tls_read(p.server, got, sizeof(got)), 3);
    assert_memory_equal(got, "abc", 3);
    assert_int_equal(tls_read(p.server, got, sizeof(got)), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(tls_writev(p.server, pieces, 1), 2);
    assert_int_equal(tls_read(p.client, got, sizeof(got)), 2);
    tls_shutdown(p.client);
    assert_int_equal(tls_read(p.server, got, sizeof(got)), 0);
    pair_close(&p);
}

static char block[1000000], got_block[sizeof(block)];

/* The rest of the block, in pieces of this size; returns their number. */
static int
block_pieces(size_t sent, size_t piece, struct iovec iov[16])
{
    int count = 0;

    for (; sent < sizeof(block) && count < 16; count++) {
        size_t n = sizeof(block) - sent < piece ? sizeof(block) - sent : piece;

        iov[count] = (struct iovec){block + sent, n};
        sent += n;
    }
    return count;
}

/* Until the socket is full, or the block is over. Returns how much. */
static size_t
block_write(struct tls_session *from, size_t sent, size_t piece)
{
    size_t begin = sent;
    struct iovec iov[16];

    while (sent < sizeof(block)) {
        ssize_t n = tls_writev(from, iov, block_pieces(sent, piece, iov));

        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            assert_true(tls_wants_write(from));
            break;
        }
        sent += (size_t)n;
    }
    return sent - begin;
}

static void
block_passes(struct tls_session *from, struct tls_session *to, size_t piece)
{
    size_t sent = 0, received = 0;
    bool was_full = false;

    memset(got_block, 0, sizeof(got_block));
    while (received < sizeof(block)) {
        ssize_t n;

        sent += block_write(from, sent, piece);
        was_full |= sent < sizeof(block);
        n = tls_read(to, got_block + received, sizeof(got_block) - received);
        assert_true(n > 0);
        received += (size_t)n;
    }
    assert_true(was_full);
    assert_memory_equal(got_block, block, sizeof(block));
}

static void
a_full_socket_is_written_on_later(void **state)
{
    static const size_t pieces[] = {sizeof(block), 262138, 16385, 16384, 16383, 6000};
    struct pair p = pair_of("server", NULL, "localhost");

    (void)state;
    pair_agrees(&p);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)(i % 251);
    for (size_t i = 0; i < MS_ARRAY_LEN(pieces); i++) {
        block_passes(p.client, p.server, pieces[i]);
        block_passes(p.server, p.client, pieces[i]);
    }
    pair_close(&p);
}

/* Messages keep their ends: one that is read in two calls is cut. */
static void
pair_use_messages(const struct pair *p)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(dup3(fds[i], p->fds[i], O_CLOEXEC) >= 0);
        fd_close(&fds[i]);
    }
}

static void
several_records_are_one_call_of_each_side(void **state)
{
    const size_t size = (size_t)4 * 16384;
    struct pair p = pair_of("server", NULL, "localhost");
    struct iovec whole = {block, size};

    (void)state;
    pair_use_messages(&p);
    pair_agrees(&p);
    assert_int_equal(tls_writev(p.client, &whole, 1), size);
    assert_int_equal(tls_read(p.server, got_block, sizeof(got_block)), size);
    assert_memory_equal(got_block, block, size);
    pair_close(&p);
}

/* Not all that would fit is opened at once. */
static void
tiny_records_count_for_more_than_they_hold(void **state)
{
    enum { RECORDS = 200, ROOM = 4096 };
    struct pair p = pair_of("server", NULL, "localhost");
    size_t received = 0;
    ssize_t n;

    (void)state;
    pair_agrees(&p);
    for (unsigned i = 0; i < RECORDS; i++)
        assert_int_equal(tls_writev(p.client, &(struct iovec){block, 1}, 1), 1);
    while ((n = tls_read(p.server, got_block, ROOM)) > 0) {
        assert_in_range(n, 1, ROOM / 100);
        assert_true(tls_read_cost(p.server) >= 100 * (size_t)n);
        received += (size_t)n;
        assert_true(received == RECORDS || !tls_is_drained(p.server));
    }
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(received, RECORDS);
    pair_close(&p);
}

/* What is said later is behind what waits, and what waits when all is over is given up. */
static void
the_end_is_behind_what_was_written(void **state)
{
    struct pair p = pair_of("server", NULL, "localhost");
    size_t sent, received = 0;
    ssize_t n;

    (void)state;
    pair_agrees(&p);
    sent = block_write(p.client, 0, sizeof(block));
    tls_shutdown(p.client);
    while ((n = tls_read(p.server, got_block, sizeof(got_block))) > 0)
        received += (size_t)n;
    assert_int_equal(errno, EAGAIN);
    tls_shutdown(p.client);
    while ((n = tls_read(p.server, got_block, sizeof(got_block))) > 0)
        received += (size_t)n;
    assert_int_equal(n, 0);
    assert_true(received >= sent);
    (void)block_write(p.server, 0, sizeof(block));
    pair_close(&p);
}

static void
the_reason_is_kept_behind_what_was_right(void **state)
{
    static const char wrong[] = "\x17\x03\x03\x00\x14 no record of this one";
    struct pair p = pair_of("server", NULL, "localhost");
    char got[16];

    (void)state;
    pair_agrees(&p);
    assert_int_equal(tls_writev(p.client, &(struct iovec){(char[]){'a'}, 1}, 1), 1);
    assert_int_equal(send(p.fds[1], wrong, sizeof(wrong) - 1, 0), sizeof(wrong) - 1);
    assert_int_equal(tls_read(p.server, got, sizeof(got)), 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(tls_read(p.server, got, sizeof(got)), -1);
        assert_int_equal(errno, EPROTO);
        assert_non_null(strstr(tls_error(p.server), "decryption failed or bad record mac"));
    }
    pair_close(&p);
}

static void
a_cut_is_no_end(void **state)
{
    struct pair p = pair_of("server", NULL, "localhost");
    char got[16];

    (void)state;
    pair_agrees(&p);
    shutdown(p.fds[1], SHUT_WR);
    assert_int_equal(tls_read(p.server, got, sizeof(got)), -1);
    assert_int_equal(errno, ECONNRESET);
    pair_close(&p);
}

/* Whoever has ended in order and then closed reads no answer: that is an error, not nothing sent.
 */
static void
an_answer_to_one_that_has_closed_fails(void **state)
{
    struct pair p = pair_of("server", NULL, "localhost");
    struct iovec iov = {.iov_base = (char[]){"answer"}, .iov_len = 6};
    char c;

    (void)state;
    pair_agrees(&p);
    tls_shutdown(p.client);
    fd_close(&p.fds[1]);
    assert_int_equal(tls_read(p.server, &c, 1), 0);
    assert_int_equal(tls_writev(p.server, &iov, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    pair_close(&p);
}

static void
servers_are_checked(void **state)
{
    static const struct {
        const char *server, *name, *reason;
    } wrong[] = {
        {"server", "elsewhere", "hostname mismatch"},
        {"server", "127.0.0.2", "IP address mismatch"},
        {"server", "::2%lo", "IP address mismatch"},
        {"server", "localhost%lo", "hostname mismatch"},
        {"foreign", "localhost", "unable to get local issuer certificate"},
        {"client", "localhost", "hostname mismatch"},
    };
    int server, client;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(wrong); i++) {
        struct pair p = pair_of(wrong[i].server, NULL, wrong[i].name);

        pair_shake(&p, &server, &client);
        assert_int_equal(client, EPROTO);
        if (strstr(tls_error(p.client), wrong[i].reason) == NULL)
            fail_msg("%s: %s", wrong[i].reason, tls_error(p.client));
        pair_close(&p);
    }
    for (const char *const *name =
             (const char *const[]){"localhost", "localhost.", "127.0.0.1", "::1", "::1%lo", NULL};
         *name != NULL; name++) {
        struct pair p = pair_of("server", NULL, *name);

        pair_agrees(&p);
        pair_close(&p);
    }
}

/* --- clients with any certificate: by OpenSSL itself, since a context of ours takes right ones ---
 */

struct raw_client {
    SSL_CTX *ctx;
    SSL *ssl;
};

static struct raw_client
raw_client(int fd, const char *cert)
{
    struct raw_client raw = {.ctx = SSL_CTX_new(TLS_client_method())};
    char path[256];

    assert_non_null(raw.ctx);
    snprintf(path, sizeof(path), "%s/%s.pem", dir, cert);
    assert_int_equal(SSL_CTX_use_certificate_file(raw.ctx, path, SSL_FILETYPE_PEM), 1);
    snprintf(path, sizeof(path), "%s/%s.key", dir, cert);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(raw.ctx, path, SSL_FILETYPE_PEM), 1);
    raw.ssl = SSL_new(raw.ctx);
    SSL_set_fd(raw.ssl, fd);
    SSL_set_connect_state(raw.ssl);
    return raw;
}

static void
raw_client_free(struct raw_client *raw)
{
    SSL_free(raw->ssl);
    SSL_CTX_free(raw->ctx);
}

/* Until the server has nothing more to say. Returns 0, or -1 with errno. */
static int
raw_client_shake(struct raw_client *raw, struct tls_session *session)
{
    int rc = -1;

    errno = EAGAIN;
    for (unsigned i = 0; i < 50 && rc < 0 && errno == EAGAIN; i++) {
        (void)SSL_do_handshake(raw->ssl);
        rc = tls_handshake(session);
    }
    return rc;
}

static void
a_flight_is_one_call_where_the_kernel_has_no_tls(void **state)
{
    struct pair p = pair_of("server", NULL, "localhost");
    struct raw_client raw;
    char flight[16384];

    (void)state;
    pair_use_messages(&p);
    raw = raw_client(p.fds[1], "client");
    SSL_set_read_ahead(raw.ssl, 1);
    SSL_set_max_proto_version(raw.ssl, TLS1_2_VERSION);
    assert_int_equal(raw_client_shake(&raw, p.server), 0);
    assert_true(recv(p.fds[1], flight, sizeof(flight), 0) > 0);
    if (access("/proc/net/tls_stat", F_OK) < 0)
        assert_int_equal(recv(p.fds[1], flight, sizeof(flight), 0), -1);
    raw_client_free(&raw);
    pair_close(&p);
}

/* What the server says of a client with that certificate: NULL, or why not. */
static const char *
server_says(const char *cert, char identity[TLS_IDENTITY_LEN])
{
    static char said[TLS_ERROR_LEN];
    struct tls_context *context = context_of(TLS_SERVER, TLS_VERIFY_PEER, "server", "ca", NULL);
    struct tls_session *session;
    struct raw_client raw;
    int fds[2], rc;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    session = tls_session_create(context, fds[0], NULL);
    raw = raw_client(fds[1], cert);
    rc = raw_client_shake(&raw, session);
    if (rc == 0)
        rc = tls_identity(session, identity);
    snprintf(said, sizeof(said), "%s", tls_error(session));
    raw_client_free(&raw);
    tls_session_destroy(session);
    tls_context_destroy(context);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    return rc == 0 ? NULL : said;
}

static void
clients_are_checked_and_named(void **state)
{
    static const struct {
        const char *cert, *identity, *reason;
    } cases[] = {
        {"client", "pump-1.example", NULL},
        {"uri", "spiffe://site/pump", NULL},
        {"common", "only a common name", NULL},
        {"control", "a\nb\033[31m", NULL},
        {"long", NULL, "empty or too long"},
        {"nul", NULL, "is no text"},
        {"nameless", NULL, "has no name"},
        {"expired", NULL, "certificate has expired"},
        {"early", NULL, "certificate is not yet valid"},
        {"strange", NULL, "unable to get local issuer certificate"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char identity[TLS_IDENTITY_LEN];
        const char *said = server_says(cases[i].cert, identity);

        if (cases[i].reason == NULL) {
            if (said != NULL)
                fail_msg("%s: %s", cases[i].cert, said);
            assert_string_equal(identity, cases[i].identity);
        } else if (said == NULL || strstr(said, cases[i].reason) == NULL) {
            fail_msg("%s: %s", cases[i].reason, said != NULL ? said : "it was let in");
        }
    }
}

static void
what_does_not_speak_tls_is_told_apart(void **state)
{
    struct pair p = pair_of("server", NULL, "localhost");

    (void)state;
    assert_int_equal(tls_handshake(p.server), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(send(p.fds[1], "GET / HTTP/1.1\r\n", 16, 0), 16);
    assert_int_equal(tls_handshake(p.server), -1);
    assert_int_equal(errno, EPROTO);
    assert_non_null(strstr(tls_error(p.server), "does not speak TLS"));
    pair_close(&p);
}

static void
a_peer_that_resets_before_its_first_word_is_named_so(void **state)
{
    struct pair p = pair_of("server", NULL, "localhost");

    (void)state;
    assert_int_equal(send(p.fds[0], "x", 1, 0), 1); /* unread, which makes the close a reset */
    fd_close(&p.fds[1]);
    assert_int_equal(tls_handshake(p.server), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_string_equal(tls_error(p.server), strerror(ECONNRESET));
    pair_close(&p);
}

/* --- files --- */

static void
expect_context_refused(const char *cert, const char *key, const char *reason)
{
    char paths[2][256], error[TLS_ERROR_LEN] = "";
    const char *path[TLS_PARTS] = {[TLS_CERT] = paths[0], [TLS_KEY] = paths[1]};
    struct tls_pem pem;
    struct tls_context *context = NULL;

    snprintf(paths[0], sizeof(paths[0]), "%s/%s", dir, cert);
    snprintf(paths[1], sizeof(paths[1]), "%s/%s", dir, key);
    if (tls_pem_read(path, &pem, error) == 0)
        context = tls_context_create(&(struct tls_setup){.role = TLS_SERVER, .pem = &pem}, error);
    assert_null(context);
    tls_pem_fini(&pem);
    if (strstr(error, reason) == NULL)
        fail_msg("expected \"%s\", got \"%s\"", reason, error);
}

static void
wrong_files_are_refused_with_the_reason(void **state)
{
    char path[256];

    (void)state;
    expect_context_refused("missing.pem", "server.key", "cannot be read: No such file");
    expect_context_refused("expired.pem", "expired.key", "the certificate has expired");
    expect_context_refused("early.pem", "early.key", "the certificate is not valid yet");
    expect_context_refused("server.pem", "client.key", "the key is not that of the certificate");
    expect_context_refused("server.key", "server.key", "the certificate cannot be used");
    expect_context_refused("server.pem", "junk.key", "the key of the certificate cannot be used");
    snprintf(path, sizeof(path), "%s/uri.key", dir);
    chmod(path, 0644);
    expect_context_refused("uri.pem", "uri.key", "is open to others than its owner (mode 644)");
    chmod(path, 0600);
}

/* Days until that file ends. */
static int64_t
days_of(const char *file)
{
    struct tls_pem pem = pem_of(file, NULL);
    int64_t until = tls_pem_until(&pem);

    tls_pem_fini(&pem);
    return (until - (int64_t)time(NULL) + 43200) / 86400;
}

static void
a_chain_ends_with_its_first_certificate_that_ends(void **state)
{
    char command[600];

    (void)state;
    certificate_make(dir, "brief", "ca", &(struct certificate){.common_name = "brief", .days = 5});
    snprintf(command, sizeof(command),
             "cd %s; cat server.pem brief.pem >chain.pem; cp -p server.key chain.key; "
             "cat brief.pem server.pem >front.pem; cp -p brief.key front.key",
             dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(days_of("server"), 30);
    assert_int_equal(days_of("chain"), 5);
    assert_int_equal(days_of("front"), 5);
}

/* --- keys that change --- */

struct changer {
    struct tls_context *context;
    struct tls_session *server;
    struct raw_client raw;
    int fds[2];
};

static void
changer_open(struct changer *c)
{
    c->context = context_of(TLS_SERVER, TLS_VERIFY_NOBODY, "server", NULL, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, c->fds), 0);
    c->server = tls_session_create(c->context, c->fds[0], NULL);
    c->raw = raw_client(c->fds[1], "client");
    assert_int_equal(raw_client_shake(&c->raw, c->server), 0);
}

static void
changer_close(struct changer *c)
{
    raw_client_free(&c->raw);
    tls_session_destroy(c->server);
    tls_context_destroy(c->context);
    fd_close(&c->fds[0]);
    fd_close(&c->fds[1]);
}

static void
changer_sends(struct changer *c, unsigned times, int type)
{
    for (unsigned i = 0; i < times; i++) {
        assert_int_equal(SSL_key_update(c->raw.ssl, type), 1);
        assert_int_equal(SSL_do_handshake(c->raw.ssl), 1);
    }
}

static void
keys_may_change_but_not_without_an_end(void **state)
{
    struct changer c;
    char got[65536];

    (void)state;
    changer_open(&c);
    for (unsigned i = 0; i < 20; i++) {
        changer_sends(&c, 20, SSL_KEY_UPDATE_NOT_REQUESTED);
        assert_int_equal(SSL_write(c.raw.ssl, "abc", 3), 3);
        assert_int_equal(tls_read(c.server, got, sizeof(got)), 3);
    }
    assert_int_equal(SSL_write(c.raw.ssl, "abc", 3), 3);
    changer_sends(&c, 200, SSL_KEY_UPDATE_NOT_REQUESTED);
    assert_int_equal(tls_read(c.server, got, sizeof(got)), 3);
    assert_int_equal(tls_read(c.server, got, sizeof(got)), -1);
    assert_int_equal(errno, EPROTO);
    assert_string_equal(tls_error(c.server), "it changes its keys without an end");
    changer_close(&c);
}

/* The answer has no room, and a wait for it would never end. */
static void
a_peer_that_asks_for_new_keys_has_to_read(void **state)
{
    struct changer c;
    char got[65536] = {0};

    (void)state;
    changer_open(&c);
    while (send(c.fds[0], got, sizeof(got), MSG_NOSIGNAL) > 0)
        continue;
    while (send(c.fds[0], got, 1, MSG_NOSIGNAL) > 0)
        continue;
    assert_int_equal(errno, EAGAIN);
    changer_sends(&c, 3, SSL_KEY_UPDATE_REQUESTED);
    assert_int_equal(tls_read(c.server, got, sizeof(got)), -1);
    assert_int_equal(errno, EPROTO);
    assert_string_equal(tls_error(c.server), "it asks for new keys and does not read");
    changer_close(&c);
}

/* --- tickets --- */

/* A handshake with that secret at the server, and the session of the one before. Returns whether it
 * was resumed. */
static bool
shake_again(const struct tls_secret *secret, const char *authority, SSL_SESSION **session)
{
    struct tls_context *context =
        context_of(TLS_SERVER, TLS_VERIFY_PEER, "server", authority, secret);
    struct tls_session *server;
    struct raw_client raw;
    bool resumed, shaken = false;
    int fds[2];
    char byte;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    server = tls_session_create(context, fds[0], NULL);
    raw = raw_client(fds[1], "client");
    if (*session != NULL)
        assert_int_equal(SSL_set_session(raw.ssl, *session), 1);
    for (unsigned i = 0; i < 10; i++) {
        (void)SSL_do_handshake(raw.ssl);
        shaken |= tls_handshake(server) == 0;
    }
    assert_true(shaken);
    assert_true(SSL_is_init_finished(raw.ssl));
    (void)SSL_read(raw.ssl, &byte, 1); /* the ticket comes behind */
    resumed = tls_is_resumed(server);
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(raw.ssl);
    SSL_shutdown(raw.ssl);
    raw_client_free(&raw);
    tls_session_destroy(server);
    tls_context_destroy(context);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    return resumed;
}

static void
tickets_are_good_wherever_the_secret_is(void **state)
{
    SSL_SESSION *session = NULL;
    struct tls_secret secret, other;

    (void)state;
    tls_secret_make(&secret);
    tls_secret_make(&other);
    assert_false(shake_again(&secret, "ca", &session));
    assert_true(shake_again(&secret, "ca", &session));
    assert_false(shake_again(&secret, "both", &session)); /* other authorities, other peers */
    assert_true(shake_again(&secret, "both", &session));
    assert_false(shake_again(&other, "both", &session));
    SSL_SESSION_free(session);
}

/* The client's session after another connection, which ends by a cut; NAME: of the server. */
static bool
client_goes_on(struct tls_context *server, struct tls_context *client, const char *name)
{
    struct pair p;
    bool resumed;
    char got[4];

    pair_open(&p, server, client, name);
    pair_agrees(&p);
    resumed = tls_is_resumed(p.client);
    assert_int_equal(tls_is_resumed(p.server), resumed);
    assert_int_equal(tls_writev(p.server, &(struct iovec){(char[]){'a'}, 1}, 1), 1);
    assert_int_equal(tls_read(p.client, got, sizeof(got)), 1);
    p.contexts[0] = p.contexts[1] = NULL; /* for the next one */
    pair_close(&p);
    return resumed;
}

static void
a_client_goes_on_with_its_session_under_the_same_name(void **state)
{
    struct tls_context *server, *client;
    struct tls_secret secret;

    (void)state;
    tls_secret_make(&secret);
    server = context_of(TLS_SERVER, TLS_VERIFY_NOBODY, "server", NULL, &secret);
    client = context_of(TLS_CLIENT, TLS_VERIFY_PEER, NULL, "ca", NULL);
    assert_false(client_goes_on(server, client, "localhost"));
    assert_true(client_goes_on(server, client, "localhost"));
    assert_true(client_goes_on(server, client, "localhost"));
    assert_false(client_goes_on(server, client, "127.0.0.1"));
    assert_true(client_goes_on(server, client, "127.0.0.1"));
    tls_context_destroy(server);
    tls_context_destroy(client);
}

/* An hour around the end of "endingca", which has signed the certificate of one side; it had not
 * ended when the two of them began. */
static void
nobody_goes_on_whose_authority_has_ended_since(void **state)
{
    static const struct {
        enum tls_verify verify;
        const char *server, *trusted, *client, *known;
    } cases[] = {{TLS_VERIFY_PEER, "server", "endingca", "lasting", "ca"},
                 {TLS_VERIFY_NOBODY, "lasting", NULL, NULL, "endingca"}};
    struct tls_secret secret;

    (void)state;
    tls_secret_make(&secret);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct tls_context *server =
            context_of(TLS_SERVER, cases[i].verify, cases[i].server, cases[i].trusted, &secret);
        struct tls_context *client =
            context_of(TLS_CLIENT, TLS_VERIFY_PEER, cases[i].client, cases[i].known, NULL);
        int errors[2];
        struct pair p;

        ahead_s = DAY_S - 1800;
        assert_false(client_goes_on(server, client, "localhost"));
        assert_true(client_goes_on(server, client, "localhost"));
        ahead_s = DAY_S + 1800;
        pair_open(&p, server, client, "localhost");
        pair_shake(&p, &errors[0], &errors[1]);
        assert_int_equal(errors[i], EPROTO);
        assert_string_equal(tls_error(i == 0 ? p.server : p.client),
                            "its certificate is not taken: certificate has expired");
        pair_close(&p);
        ahead_s = 0;
    }
}

static void
keys_become_others_each_hour(void **state)
{
    struct tls_ticket_keys now[3], before[3];
    struct tls_secret secret;

    (void)state;
    tls_secret_make(&secret);
    for (unsigned i = 0; i < 3; i++) {
        tls_secret_keys(&secret, &now[i], &before[i]);
        secret.hour--; /* an hour passes */
        tls_secret_advance(&secret);
        assert_true(tls_secret_is_present(&secret));
        assert_memory_not_equal(&now[i], &before[i], sizeof(now[i]));
        assert_memory_not_equal(now[i].cipher, now[i].mac, sizeof(now[i].mac));
        if (i > 0)
            assert_memory_equal(&before[i], &now[i - 1], sizeof(before[i]));
    }
}

/* --- life --- */

static int
make_all(void **state)
{
    static char many[65536];
    char command[600];

    (void)state;
    assert_non_null(mkdtemp(dir));
    memset(many, 'n', sizeof(many));
#define MAKE(name, signer, ...) \
    certificate_make(dir, name, signer, &(struct certificate){__VA_ARGS__})
    MAKE("ca", NULL, .common_name = "test authority");
    MAKE("otherca", NULL, .common_name = "another authority");
    MAKE("server", "ca", .alternative = "DNS:localhost,IP:127.0.0.1,IP:::1");
    MAKE("foreign", "otherca", .alternative = "DNS:localhost");
    MAKE("client", "ca", .common_name = "not this", .alternative = "IP:1.2.3.4,DNS:pump-1.example");
    MAKE("uri", "ca", .alternative = "URI:spiffe://site/pump,DNS:pump-2.example");
    MAKE("common", "ca", .common_name = "only a common name");
    MAKE("control", "ca", .common_name = "a\nb\033[31m");
    MAKE("long", "ca", .common_name = many, .common_name_len = 60000);
    MAKE("nul", "ca", .common_name = "good\0bad", .common_name_len = 8);
    MAKE("nameless", "ca", .alternative = "IP:1.2.3.4");
    MAKE("expired", "ca", .common_name = "old", .from_days = -20, .days = 10);
    MAKE("early", "ca", .common_name = "new", .from_days = 20, .days = 10);
    MAKE("endingca", NULL, .common_name = "ending authority", .days = 1);
    MAKE("lasting", "endingca", .alternative = "DNS:localhost");
    MAKE("strange", "otherca", .common_name = "strange");
    snprintf(command, sizeof(command), "umask 077; echo junk > %s/junk.key", dir);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof(command), "cat %s/ca.pem %s/otherca.pem > %s/both.pem", dir, dir, dir);
    return system(command);
}

static int
remove_all(void **state)
{
    char command[100];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_through_in_both_directions),
        cmocka_unit_test(a_full_socket_is_written_on_later),
        cmocka_unit_test(several_records_are_one_call_of_each_side),
        cmocka_unit_test(a_flight_is_one_call_where_the_kernel_has_no_tls),
        cmocka_unit_test(tiny_records_count_for_more_than_they_hold),
        cmocka_unit_test(the_end_is_behind_what_was_written),
        cmocka_unit_test(the_reason_is_kept_behind_what_was_right),
        cmocka_unit_test(a_cut_is_no_end),
        cmocka_unit_test(an_answer_to_one_that_has_closed_fails),
        cmocka_unit_test(servers_are_checked),
        cmocka_unit_test(clients_are_checked_and_named),
        cmocka_unit_test(what_does_not_speak_tls_is_told_apart),
        cmocka_unit_test(a_peer_that_resets_before_its_first_word_is_named_so),
        cmocka_unit_test(wrong_files_are_refused_with_the_reason),
        cmocka_unit_test(a_chain_ends_with_its_first_certificate_that_ends),
        cmocka_unit_test(keys_may_change_but_not_without_an_end),
        cmocka_unit_test(a_peer_that_asks_for_new_keys_has_to_read),
        cmocka_unit_test(tickets_are_good_wherever_the_secret_is),
        cmocka_unit_test(a_client_goes_on_with_its_session_under_the_same_name),
        cmocka_unit_test(nobody_goes_on_whose_authority_has_ended_since),
        cmocka_unit_test(keys_become_others_each_hour),
    };

    return cmocka_run_group_tests(tests, make_all, remove_all);
}

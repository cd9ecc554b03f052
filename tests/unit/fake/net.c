#include "unit/fake/net.h"

#include "support/wait.h"
#include "unit/guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <sys/random.h>

#define HANG_S 240 /* a call that hangs must not hold the tests up */

/* --- the resolver --- */

struct resolver resolver = {.lock = PTHREAD_MUTEX_INITIALIZER,
                            .released = PTHREAD_COND_INITIALIZER};

static pthread_t program;

typedef int getaddrinfo_fn(const char *node, const char *service, const struct addrinfo *hints,
                           struct addrinfo **found);

static int
resolver_read(const char *address, const char *service, struct addrinfo **found)
{
    const struct addrinfo numeric = {.ai_socktype = SOCK_STREAM,
                                     .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};

    return ((getaddrinfo_fn *)dlsym(RTLD_NEXT, "getaddrinfo"))(address, service, &numeric, found);
}

static bool
resolver_is_called_wrong(void)
{
    sigset_t blocked;

    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    return pthread_equal(pthread_self(), program) || sigismember(&blocked, SIGALRM) != 1 ||
           sigismember(&blocked, SIGINT) != 1;
}

/* "name=address" is of that name alone. NULL: it is of another one. */
static const char *
resolver_address(const char *text, const char *node)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL)
        return text;
    return strncmp(text, node, (size_t)(equals - text)) == 0 && node[equals - text] == '\0'
               ? equals + 1
               : NULL;
}

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
            struct addrinfo **found)
{
    struct addrinfo **end = found;
    int rc;

    *found = NULL;
    if (hints != NULL && (hints->ai_flags & AI_NUMERICHOST) != 0)
        return resolver_read(node, service, found);
    pthread_mutex_lock(&resolver.lock);
    resolver.asked++;
    resolver.wrong |= resolver_is_called_wrong();
    while (resolver.held && (resolver.held_name == NULL || strcmp(node, resolver.held_name) == 0))
        pthread_cond_wait(&resolver.released, &resolver.lock);
    rc = resolver.addresses == NULL && resolver.rc == 0 ? EAI_NONAME : resolver.rc;
    for (size_t i = 0; rc == 0 && resolver.addresses[i] != NULL; i++) {
        const char *address = resolver_address(resolver.addresses[i], node);

        rc = address != NULL ? resolver_read(address, service, end) : 0;
        end = *end != NULL ? &(*end)->ai_next : end;
    }
    if (rc == 0 && *found == NULL)
        rc = EAI_NONAME;
    resolver.answered++;
    pthread_mutex_unlock(&resolver.lock);
    return rc;
}

void
resolver_hold(bool held)
{
    pthread_mutex_lock(&resolver.lock);
    resolver.held = held;
    pthread_cond_broadcast(&resolver.released);
    pthread_mutex_unlock(&resolver.lock);
}

unsigned
resolver_asked(void)
{
    unsigned n;

    pthread_mutex_lock(&resolver.lock);
    n = resolver.asked;
    pthread_mutex_unlock(&resolver.lock);
    return n;
}

bool
resolver_has_answered_all(void)
{
    bool all;

    pthread_mutex_lock(&resolver.lock);
    all = resolver.asked == resolver.answered;
    pthread_mutex_unlock(&resolver.lock);
    return all;
}

/* --- connect(2) --- */

struct connects connects;

typedef int connect_fn(int fd, const struct sockaddr *sa, socklen_t len);

static const char *
connects_note(const struct sockaddr *sa)
{
    char *text = connects.tried[connects.count++ % TRIED_MAX];

    if (sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, text, INET6_ADDRSTRLEN);
    return text;
}

/* Only of the program's own thread: the servers' do not connect. */
int
connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    connect_fn *real = (connect_fn *)dlsym(RTLD_NEXT, "connect");
    const char *text = connects_note(sa);

    if (connects.to_self)
        assert_int_equal(bind(fd, sa, len), 0);
    if (connects.address == NULL ||
        (connects.address[0] != '\0' && strcmp(connects.address, text) != 0))
        return real(fd, sa, len);
    if (connects.error == EINTR)
        (void)real(fd, sa, len); /* and it goes on */
    errno = connects.error;
    return -1;
}

/* --- threads that cannot be started --- */

bool no_threads;

typedef int
create_fn(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

int
pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    if (no_threads)
        return EAGAIN;
    return ((create_fn *)dlsym(RTLD_NEXT, "pthread_create"))(thread, attr, run, arg);
}

/* --- around each test --- */

unsigned
count_threads(void)
{
    return guard_entries("/proc/self/task");
}

static unsigned
count_descriptors(void)
{
    return guard_entries("/proc/self/fd");
}

static unsigned threads_before, descriptors_before;

int
net_reset(void **state)
{
    (void)state;
    program = pthread_self();
    resolver_hold(false);
    resolver.addresses = NULL;
    resolver.rc = 0;
    resolver.held_name = NULL;
    resolver.wrong = false;
    resolver.asked = resolver.answered = 0;
    memset(&connects, 0, sizeof(connects));
    no_threads = false;
    descriptors_before = count_descriptors();
    alarm(HANG_S);
    return 0;
}

static void *
do_nothing(void *arg)
{
    return arg;
}

int
net_begin(void)
{
    pthread_t first; /* sanitizers begin one of their own with it */

    if (pthread_create(&first, NULL, do_nothing, NULL) != 0 || pthread_join(first, NULL) != 0)
        return -1;
    threads_before = count_threads();
    return 0;
}

int
net_check(void **state)
{
    (void)state;
    pthread_mutex_lock(&resolver.lock);
    resolver.addresses = NULL; /* they were the test's */
    pthread_mutex_unlock(&resolver.lock);
    resolver_hold(false);
    WAIT_FOR(count_threads() == threads_before, 20000);
    WAIT_FOR(count_descriptors() == descriptors_before, 20000);
    alarm(0);
    return resolver.wrong ? -1 : 0;
}

struct server *
start_server(uint16_t port, int family)
{
    struct server *s = server_create();

    s->port = port;
    server_start(s, family);
    return s;
}

void
stop_server(struct server *s)
{
    server_stop(s);
    server_destroy(s);
}

msock *
open_name(const char *name, uint16_t port)
{
    char url[320];

    snprintf(url, sizeof(url), "msp://%s:%u", name, port);
    return open_url(url);
}

msock *
open_url(const char *url)
{
    msock *m = msock_open(url);

    assert_non_null(m);
    msock_set_timeouts(m, LONG_MS, LONG_MS);
    msock_set_retries(m, 0, 1, 1);
    return m;
}

uint16_t
free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    uint16_t port;
    int fd, rc;

    do {
        assert_int_equal(getrandom(&port, sizeof(port), 0), sizeof(port));
        port = (uint16_t)(10000 + port % 20000);
        sa.sin_port = htons(port);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
        close(fd);
    } while (rc < 0);
    return port;
}

int
listen_at(const char *address, uint16_t port, int backlog)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_int_equal(inet_pton(AF_INET, address, &sa.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

void
black_hole_open(struct black_hole *hole, const char *address, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};

    inet_pton(AF_INET, address, &sa.sin_addr);
    hole->listener = listen_at(address, port, 0);
    for (size_t i = 0; i < 4; i++) {
        hole->fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(hole->fill[i], (struct sockaddr *)&sa, sizeof(sa));
    }
    connects.count = 0;
}

void
black_hole_close(struct black_hole *hole)
{
    for (size_t i = 0; i < 4; i++)
        close(hole->fill[i]);
    close(hole->listener);
}

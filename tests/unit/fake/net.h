/* A resolver, connect(2) and threads that do as a test likes: getaddrinfo, connect and
 * pthread_create are these in a test program that is linked with them, for libmsock.a and
 * libmsock.so alike. */
#ifndef TESTS_FAKE_NET_H
#define TESTS_FAKE_NET_H

#include "msock.h"
#include "unit/scripted_server.h"

#define LONG_MS   60000 /* longer than anything takes */
#define TRIED_MAX 64

struct resolver {
    pthread_mutex_t lock;
    pthread_cond_t released;
    /* Ended by NULL: of every name, or "name=address" of one. */
    const char *const *addresses;
    int rc;                   /* where there are none */
    bool held;                /* it does not answer */
    const char *held_name;    /* where that is asked for; NULL: whatever is */
    bool wrong;               /* asked in a thread of the program, or one that takes signals */
    unsigned asked, answered; /* for names */
};

extern struct resolver resolver;

#define RESOLVER_SAYS(...) (resolver.addresses = (const char *const[]){__VA_ARGS__, NULL})

void resolver_hold(bool held);
unsigned resolver_asked(void);
bool resolver_has_answered_all(void);

struct connects {
    const char *address; /* connecting to it fails with error; "": to all */
    int error;
    bool to_self; /* the kernel chooses the port that is connected to */
    unsigned count;
    char tried[TRIED_MAX][INET6_ADDRSTRLEN];
};

extern struct connects connects;

extern bool no_threads; /* none can be started */

/* For main: before the tests. */
int net_begin(void);

/* Around each test. */
int net_reset(void **state);
int net_check(void **state);

#define NET_TEST(name) cmocka_unit_test_setup_teardown(name, net_reset, net_check)

unsigned count_threads(void);

struct server *start_server(uint16_t port, int family);
void stop_server(struct server *s);

/* No retries, and all the time in the world. */
msock *open_name(const char *name, uint16_t port);

/* The same with any URL. */
msock *open_url(const char *url);

/* A port that was free a moment ago, beneath those that the kernel gives to connections and for
 * port 0: nobody gets it by chance. */
uint16_t free_port(void);

int listen_at(const char *address, uint16_t port, int backlog);

/* An address that does not answer, as behind a firewall: the queue of a listener is full. */
struct black_hole {
    int listener;
    int fill[4];
};

void black_hole_open(struct black_hole *hole, const char *address, uint16_t port);
void black_hole_close(struct black_hole *hole);

#endif

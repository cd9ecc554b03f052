/* Ten thousand connections that stay, over eight workers: none has far more than its share. */
#include "stats.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS  10000
#define WORKERS      8
#define PER_ADDRESS  2500
#define SPREAD_LIMIT 1.25

static int sockets[CONNECTIONS];

static int
connect_from(const struct target *target, unsigned address)
{
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + address)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        fail_msg("no socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&source, sizeof(source)) < 0 ||
        connect(fd, (const struct sockaddr *)&target->addr, target->len) < 0)
        fail_msg("cannot connect: %s", strerror(errno));
    return fd;
}

static void
close_all(void)
{
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        if (sockets[i] > 0)
            close(sockets[i]);
        sockets[i] = 0;
    }
}

/* Largest share over mean share, of the workers' open connections. */
static double
spread(const struct daemon *d)
{
    json_t *stats = stats_read(d, "stats"), *row;
    json_int_t most = 0, sum = 0;
    size_t i, count = 0;

    json_array_foreach(json_object_get(stats, "workers"), i, row)
    {
        json_int_t open = json_integer_value(json_object_get(row, "open"));

        sum += open;
        most = open > most ? open : most;
        count++;
    }
    json_decref(stats);
    assert_int_equal(count, WORKERS);
    return sum > 0 ? (double)most * (double)count / (double)sum : 0;
}

static int
close_after(void **state)
{
    close_all();
    return harness_teardown(state);
}

static void
ten_thousand_connections_are_spread_over_eight_workers(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = WORKERS, .handler = "discard", .set = {"idle_timeout=10m"}});
    double found;

    (void)state;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        sockets[i] = connect_from(&d->listeners[0], 1 + i / PER_ADDRESS);
    WAIT_FOR(stats_total(d, "open") == CONNECTIONS, 30000);
    found = spread(d);
    print_message("max / mean is %.3f\n", found);
    assert_true(found <= SPREAD_LIMIT);
    assert_int_equal(stats_total(d, "refused"), 0);
    close_all();
    WAIT_FOR(stats_total(d, "open") == 0, 30000);
    daemon_stop(d);
}

/* Nine in ten leave and as many come again: the shares must be even afterwards too. */
static void
the_shares_stay_even_when_connections_come_and_go(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = WORKERS, .handler = "discard", .set = {"idle_timeout=10m"}});
    unsigned count = CONNECTIONS / 4;
    double found;

    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < count; i++)
            if (sockets[i] == 0)
                sockets[i] = connect_from(&d->listeners[0], 1 + round);
        WAIT_FOR(stats_total(d, "open") == count, 30000);
        for (unsigned i = 0; i < count && round == 0; i++)
            if (i % 10 != 0) {
                close(sockets[i]);
                sockets[i] = 0;
            }
        if (round == 0)
            WAIT_FOR(stats_total(d, "open") == count / 10, 30000);
    }
    found = spread(d);
    print_message("max / mean is %.3f\n", found);
    assert_true(found <= SPREAD_LIMIT);
    close_all();
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ten_thousand_connections_are_spread_over_eight_workers,
                                        NULL, close_after),
        cmocka_unit_test_setup_teardown(the_shares_stay_even_when_connections_come_and_go, NULL,
                                        close_after),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

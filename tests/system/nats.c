#include "nats.h"

#include "support/signals.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER    "/usr/sbin/nats-server"
#define SERVER_MS 20000
#define LEADER_MS 300

#define PORT_FIRST 10000
#define PORT_COUNT 22000

/* --- servers --- */

void
nats_need(void)
{
    const bool is_built = harness_is_built("msockd_nats.so");

    if (access(SERVER, X_OK) == 0 && is_built)
        return;
    print_message("skipped: %s is missing\n", is_built ? "nats-server" : "libnats-dev");
    skip();
}

bool
nats_port_is_free(unsigned port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr));

    close(fd);
    return rc == 0;
}

/* Below those that the kernel gives away, so that nobody has it while its server is dead. */
unsigned
nats_free_port(void)
{
    uint16_t random;
    unsigned port;

    do {
        assert_int_equal(getrandom(&random, sizeof(random), 0), sizeof(random));
        port = PORT_FIRST + random % PORT_COUNT;
    } while (!nats_port_is_free(port));
    return port;
}

static bool
nats_serves(const struct nats *n)
{
    struct nats_client c;
    char *answer = NULL;
    bool serves;

    if (!nats_open(&c, n))
        return false;
    answer = nats_request(&c, "$JS.API.STREAM.NAMES", "");
    nats_close(&c);
    serves = answer != NULL && strstr(answer, "\"error\"") == NULL;
    free(answer);
    return serves;
}

static bool
nats_is_ready(const struct nats *n)
{
    char path[HARNESS_PATH_LEN], *log;
    bool ready;

    harness_join(path, n->dir, "log");
    log = harness_read_file(path, NULL);
    ready = log != NULL && strstr(log, "Server is ready") != NULL;
    free(log);
    return ready;
}

void
nats_spawn(struct nats *n)
{
    const char *argv[] = {SERVER, "-c", n->config, NULL};
    char log[HARNESS_PATH_LEN];

    harness_join(log, n->dir, "log");
    run_start(&n->run, argv, &(struct run_options){.error_file = log});
    n->running = true;
}

void
nats_launch(struct nats *n)
{
    nats_spawn(n);
    WAIT_FOR(n->is_locked || n->is_plain ? nats_is_ready(n) : nats_serves(n), SERVER_MS);
}

static void
nats_write_config(struct nats *n, const char *more)
{
    char text[8192];
    int len = snprintf(text, sizeof(text), "listen: 127.0.0.1:%u\nserver_name: s%u\n%s\n", n->port,
                       n->port, more != NULL ? more : "");

    if (!n->is_plain)
        len += snprintf(text + len, sizeof(text) - (size_t)len,
                        "jetstream { store_dir: \"%.400s/store\" }\n", n->dir);
    harness_join(n->config, n->dir, "config");
    harness_write_file(n->config, text, (size_t)len);
}

static void
nats_create(struct nats *n)
{
    nats_need();
    *n = (struct nats){.port = nats_free_port(), .cluster_port = nats_free_port()};
    harness_directory(n->dir);
}

void
nats_start(struct nats *n, const char *more)
{
    const struct nats as = *n;

    nats_create(n);
    n->login = as.login;
    n->is_locked = as.is_locked;
    n->is_plain = as.is_plain;
    nats_write_config(n, more);
    nats_launch(n);
}

void
nats_kill(struct nats *n)
{
    struct run_result result;

    if (!n->running)
        return;
    signal_send(n->run.pid, SIGKILL);
    run_finish(&n->run, SERVER_MS, &result);
    run_result_free(&result);
    n->running = false;
}

void
nats_cluster_start(struct nats n[NATS_CLUSTER], const char *more)
{
    char text[1024];

    for (unsigned i = 0; i < NATS_CLUSTER; i++)
        nats_create(&n[i]);
    for (unsigned i = 0; i < NATS_CLUSTER; i++) {
        snprintf(text, sizeof(text),
                 "cluster { name: c, listen: 127.0.0.1:%u, routes: [\"nats://127.0.0.1:%u\", "
                 "\"nats://127.0.0.1:%u\", \"nats://127.0.0.1:%u\"] }\n%s",
                 n[i].cluster_port, n[0].cluster_port, n[1].cluster_port, n[2].cluster_port,
                 more != NULL ? more : "");
        nats_write_config(&n[i], text);
        nats_spawn(&n[i]);
    }
    for (unsigned i = 0; i < NATS_CLUSTER; i++)
        WAIT_FOR(nats_serves(&n[i]), 2 * SERVER_MS);
}

/* Asks one server, for a moment: it may be one that has no leader itself. */
static char *
ask_about_stream(const struct nats *n)
{
    struct nats_client c;
    char *answer;

    if (!n->running || !nats_open(&c, n))
        return NULL;
    c.answer_ms = LEADER_MS * WAIT_SCALE;
    answer = nats_request(&c, "$JS.API.STREAM.INFO.S", "");
    nats_close(&c);
    return answer;
}

/* Every other server of the stream has all of it. */
static bool
stream_is_whole(const char *info)
{
    unsigned current = 0;

    for (const char *at = info; (at = strstr(at, "\"current\":true")) != NULL; at++)
        current++;
    return current == NATS_CLUSTER - 1 && strstr(info, "\"lag\":") == NULL;
}

static int
leader_of(const struct nats n[NATS_CLUSTER], const char *info)
{
    static const char name[] = "\"leader\":\"s";
    const char *at = strstr(info, name);

    for (int i = 0; at != NULL && i < NATS_CLUSTER; i++)
        if (strtoul(at + strlen(name), NULL, 10) == n[i].port)
            return i;
    return -1;
}

int
nats_cluster_leader(const struct nats n[NATS_CLUSTER], bool *is_whole_out)
{
    int leader = -1;

    for (unsigned i = 0; leader < 0 && i < NATS_CLUSTER; i++) {
        char *info = ask_about_stream(&n[i]);

        if (info != NULL && (leader = leader_of(n, info)) >= 0 && is_whole_out != NULL)
            *is_whole_out = stream_is_whole(info);
        free(info);
    }
    return leader;
}

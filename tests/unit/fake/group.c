#include "unit/fake/group.h"

void
group_start(struct group *g)
{
    for (unsigned i = 0; i < GROUP_COUNT; i++) {
        if (g->s[i] != NULL)
            server_start(g->s[i], AF_INET);
        g->port[i] = g->s[i] != NULL ? g->s[i]->port : free_port();
    }
}

struct group
group_create(void)
{
    return (struct group){.s = {server_create(), server_create(), server_create()}};
}

msock *
group_open(const struct group *g, const char *options)
{
    char url[160];

    snprintf(url, sizeof(url), "msp://127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u%s", g->port[0],
             g->port[1], g->port[2], options);
    return open_url(url);
}

void
group_stop(struct group *g)
{
    for (unsigned i = 0; i < GROUP_COUNT; i++)
        if (g->s[i] != NULL)
            server_stop(g->s[i]);
}

void
group_destroy(struct group *g)
{
    for (unsigned i = 0; i < GROUP_COUNT; i++)
        if (g->s[i] != NULL)
            server_destroy(g->s[i]);
}

void
expect_connections(const struct group *g, int a, int b, int c)
{
    const int expected[GROUP_COUNT] = {a, b, c};

    for (unsigned i = 0; i < GROUP_COUNT; i++)
        if (g->s[i] != NULL && g->s[i]->connections != expected[i])
            fail_msg("server %u: %d connections, not %d", i, g->s[i]->connections, expected[i]);
}

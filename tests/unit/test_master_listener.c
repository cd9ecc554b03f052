/* Listening sockets: what is bound, what is taken over, what is removed. */
#include "guard.h"

#include "master/state.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct place {
    char dir[64], path[96];
};

static struct listener_config
config_for(const char *text, char *name)
{
    struct listener_config lc = {.name = name,
                                 .url = name,
                                 .endpoint_count = 1,
                                 .number = {[OPTION_BACKLOG] = 16, [OPTION_MODE] = 0640}};
    char error[URL_ERROR_LEN];
    struct url url;

    assert_int_equal(url_parse(text, &url, error), 0);
    assert_int_equal(endpoint_resolve(&url, &lc.endpoints[0], error), 0);
    url_fini(&url);
    strcpy(name, text);
    return lc;
}

/* The only socket of lc, or NULL. */
static struct listener *
open_one(const struct listener_config *lc, gid_t gid, struct failure *why)
{
    const struct listen_how how = {.backlog = (int)lc->number[OPTION_BACKLOG],
                                   .mode = (mode_t)lc->number[OPTION_MODE],
                                   .gid = gid};
    struct listen_socket one = {.fd = -1};
    size_t failed;

    if (listen_open(lc->endpoints, 1, &how, &one, &failed) == 0)
        return listener_create(lc, &lc->endpoints[0], &one);
    listener_explain(lc, &lc->endpoints[failed], errno, why);
    return NULL;
}

/* "msp://127.0.0.1:43117" */
static void
url_of(const struct listener *l, char text[128])
{
    char address[ENDPOINT_TEXT_LEN];

    endpoint_format(&l->socket.bound, address);
    snprintf(text, 128, "msp://%.120s", address);
}

static int
setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    guard_directory(p->dir, sizeof(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/s", p->dir);
    *state = p;
    return 0;
}

static int
teardown(void **state)
{
    struct place *p = *state;

    unlink(p->path);
    rmdir(p->dir);
    free(p);
    return 0;
}

static int
connect_to(const struct endpoint *ep)
{
    int fd = socket(ep->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, (const struct sockaddr *)&ep->addr, ep->len);

    close(fd);
    return rc;
}

static void
port_0_is_resolved_for_ipv4_and_ipv6(void **state)
{
    static const char *const urls[] = {"msp://127.0.0.1:0", "msp://[::1]:0"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(urls); i++) {
        char name[128], text[128];
        struct listener_config lc = config_for(urls[i], name);
        struct failure why;
        struct listener *l = open_one(&lc, (gid_t)-1, &why);

        if (l == NULL && i == 1)
            skip(); /* a machine without IPv6 */
        assert_non_null(l);
        assert_int_equal(connect_to(&l->socket.bound), 0);
        url_of(l, text);
        assert_int_equal(strncmp(text, urls[i], strlen(urls[i]) - 1), 0);
        assert_true(text[strlen(urls[i]) - 1] != '0');
        assert_true(listener_serves(l, &lc, &lc.endpoints[0]));
        listener_unref(l);
    }
}

/* Before any worker is there. */
static void
whoever_connects_first_leaves_as_little_in_the_kernel(void **state)
{
    char name[128];
    struct listener_config lc = config_for("msp://127.0.0.1:0", name);
    struct failure why;
    struct listener *l = open_one(&lc, (gid_t)-1, &why);
    int peer = socket(AF_INET, SOCK_STREAM, 0), fd, unsent = 0;
    socklen_t len = sizeof(unsent);

    (void)state;
    assert_non_null(l);
    assert_int_equal(connect(peer, (struct sockaddr *)&l->socket.bound.addr, l->socket.bound.len),
                     0);
    fd = accept(l->socket.fd, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, &len), 0);
    assert_in_range(unsent, 1, 1 << 20);
    close(fd);
    close(peer);
    listener_unref(l);
}

static void
the_same_address_written_out_is_served_and_another_is_not(void **state)
{
    char name[128], other[128], text[128];
    struct listener_config lc = config_for("msp://127.0.0.1:0", name), again;
    struct failure why;
    struct listener *l = open_one(&lc, (gid_t)-1, &why);

    (void)state;
    assert_non_null(l);
    url_of(l, text);
    again = config_for(text, other);
    assert_true(listener_serves(l, &again, &again.endpoints[0]));
    again = config_for("msp://127.0.0.1:1", other);
    assert_false(listener_serves(l, &again, &again.endpoints[0]));
    again = config_for("tinyproto://127.0.0.1:0", other);
    assert_false(listener_serves(l, &again, &again.endpoints[0]));
    listener_unref(l);
}

static void
a_port_in_use_is_exit_status_69(void **state)
{
    char name[128], other[128], text[128];
    struct listener_config lc = config_for("msp://127.0.0.1:0", name), again;
    struct failure why;
    struct listener *l = open_one(&lc, (gid_t)-1, &why);

    (void)state;
    url_of(l, text);
    again = config_for(text, other);
    assert_null(open_one(&again, (gid_t)-1, &why));
    assert_int_equal(why.code, EX_UNAVAILABLE);
    assert_non_null(strstr(why.text, "address already in use (another program listens there; "
                                     "choose another with -l or stop it)"));
    listener_unref(l);
}

static void
what_cannot_be_had_is_explained(void **state)
{
    static const struct {
        const char *url;
        int error, code;
        const char *said;
    } rows[] = {
        {"msp://127.0.0.1:80", EACCES, EX_NOPERM, "a port under 1024 is for root"},
        {"msp://127.0.0.1:8000", EACCES, EX_NOPERM, "no permission to listen there"},
        {"msp://192.0.2.77:8000", EADDRNOTAVAIL, EX_UNAVAILABLE, "no such address on this machine"},
        {"msp://[::1]:8000", EAFNOSUPPORT, EX_UNAVAILABLE, "this machine has no IPv6"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        char name[128];
        struct listener_config lc = config_for(rows[i].url, name);
        struct failure why;

        listener_explain(&lc, &lc.endpoints[0], rows[i].error, &why);
        assert_int_equal(why.code, rows[i].code);
        assert_non_null(strstr(why.text, rows[i].url));
        assert_non_null(strstr(why.text, rows[i].said));
    }
}

static void
it_stays_open_until_the_last_reference_is_gone(void **state)
{
    char name[128];
    struct listener_config lc = config_for("msp://127.0.0.1:0", name);
    struct failure why;
    struct listener *l = open_one(&lc, (gid_t)-1, &why);
    struct endpoint bound = l->socket.bound;

    (void)state;
    listener_ref(l);
    listener_unref(l);
    assert_int_equal(connect_to(&bound), 0);
    listener_unref(l);
    assert_int_equal(connect_to(&bound), -1);
}

static void
a_unix_socket_in_use_is_left_alone(void **state)
{
    struct place *p = *state;
    char url[128], name[128];
    struct listener_config lc;
    struct failure why;
    struct listener *l;
    struct stat st;

    snprintf(url, sizeof(url), "msp://%s", p->path);
    lc = config_for(url, name);
    l = open_one(&lc, (gid_t)-1, &why);
    assert_non_null(l);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_null(open_one(&lc, (gid_t)-1, &why));
    assert_int_equal(why.code, EX_UNAVAILABLE);
    assert_int_equal(connect_to(&l->socket.bound), 0);
    listener_unref(l);
    assert_int_equal(stat(p->path, &st), -1);
}

static void
a_stale_unix_socket_is_replaced_but_a_file_is_not(void **state)
{
    struct place *p = *state;
    char url[128], name[128];
    struct listener_config lc;
    struct failure why;
    struct listener *l;
    FILE *f;
    int fd;

    snprintf(url, sizeof(url), "msp://%s", p->path);
    lc = config_for(url, name);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&lc.endpoints[0].addr, lc.endpoints[0].len), 0);
    close(fd);
    l = open_one(&lc, (gid_t)-1, &why);
    assert_non_null(l);
    listener_unref(l);

    f = fopen(p->path, "w");
    assert_non_null(f);
    fclose(f);
    assert_null(open_one(&lc, (gid_t)-1, &why));
    assert_int_equal(access(p->path, F_OK), 0);
}

static void
a_file_that_took_the_sockets_name_is_not_removed(void **state)
{
    struct place *p = *state;
    char url[128], name[128];
    struct listener_config lc;
    struct failure why;
    struct listener *l;
    FILE *f;

    snprintf(url, sizeof(url), "msp://%s", p->path);
    lc = config_for(url, name);
    l = open_one(&lc, (gid_t)-1, &why);
    assert_non_null(l);
    unlink(p->path);
    f = fopen(p->path, "w");
    fclose(f);
    listener_unref(l);
    assert_int_equal(access(p->path, F_OK), 0);
}

static mode_t
mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void
a_changed_mode_is_for_the_socket_alone_and_not_for_what_took_its_name(void **state)
{
    struct place *p = *state;
    char url[128], name[128], other[96];
    struct listener_config lc;
    struct failure why;
    struct listener *l;
    int fd;

    snprintf(url, sizeof(url), "msp://%s", p->path);
    snprintf(other, sizeof(other), "%s/other", p->dir);
    lc = config_for(url, name);
    l = open_one(&lc, (gid_t)-1, &why);
    assert_non_null(l);
    lc.number[OPTION_MODE] = 0666;
    listener_apply(l, &lc, (gid_t)-1);
    assert_int_equal(mode_of(p->path), 0666);

    fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(symlink(other, p->path), 0);
    listener_apply(l, &lc, (gid_t)-1);
    assert_int_equal(mode_of(other), 0600);
    assert_int_equal(rename(other, p->path), 0);
    listener_apply(l, &lc, (gid_t)-1);
    assert_int_equal(mode_of(p->path), 0600);
    listener_unref(l);
    assert_int_equal(access(p->path, F_OK), 0);
}

static void
the_socket_is_given_to_the_group(void **state)
{
    struct place *p = *state;
    char url[128], name[128];
    struct listener_config lc;
    struct failure why;
    struct listener *l;
    struct stat st;

    if (geteuid() != 0)
        skip();
    snprintf(url, sizeof(url), "msp://%s", p->path);
    lc = config_for(url, name);
    l = open_one(&lc, 65534, &why);
    assert_non_null(l);
    assert_int_equal(lstat(p->path, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_gid, 65534);
    assert_int_equal(st.st_mode & 07777, 0640);
    listener_apply(l, &lc, 1); /* as a reload does that changes it */
    assert_int_equal(lstat(p->path, &st), 0);
    assert_int_equal(st.st_gid, 1);
    listener_unref(l);
}

/* As a worker that shares the socket can do. */
static void
a_socket_that_was_shut_down_serves_no_more(void **state)
{
    const struct place *p = *state;
    char urls[2][128] = {"msp://127.0.0.1:0"};

    snprintf(urls[1], sizeof(urls[1]), "msp://%s", p->path);
    for (size_t i = 0; i < MS_ARRAY_LEN(urls); i++) {
        char name[128];
        struct listener_config lc = config_for(urls[i], name);
        struct failure why;
        struct listener *l = open_one(&lc, (gid_t)-1, &why), *next;

        assert_non_null(l);
        l->listens = true;
        assert_int_equal(fcntl(l->socket.fd, F_SETFL, 0), 0);
        listener_apply(l, &lc, (gid_t)-1);
        assert_true(fcntl(l->socket.fd, F_GETFL) & O_NONBLOCK);
        assert_true(listener_serves(l, &lc, &lc.endpoints[0]));
        assert_int_equal(connect_to(&l->socket.bound), 0);
        assert_true(listener_serves(l, &lc, &lc.endpoints[0]));
        assert_int_equal(shutdown(l->socket.fd, SHUT_RD), 0);
        assert_false(listener_serves(l, &lc, &lc.endpoints[0]));
        next = open_one(&lc, (gid_t)-1, &why);
        assert_non_null(next);
        listener_unref(l);
        assert_int_equal(connect_to(&next->socket.bound), 0);
        listener_unref(next);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_connects_first_leaves_as_little_in_the_kernel),
        cmocka_unit_test(port_0_is_resolved_for_ipv4_and_ipv6),
        cmocka_unit_test(whoever_connects_first_leaves_as_little_in_the_kernel),
        cmocka_unit_test(the_same_address_written_out_is_served_and_another_is_not),
        cmocka_unit_test(a_port_in_use_is_exit_status_69),
        cmocka_unit_test(what_cannot_be_had_is_explained),
        cmocka_unit_test(it_stays_open_until_the_last_reference_is_gone),
        cmocka_unit_test_setup_teardown(a_unix_socket_in_use_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stale_unix_socket_is_replaced_but_a_file_is_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_that_took_the_sockets_name_is_not_removed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_changed_mode_is_for_the_socket_alone_and_not_for_what_took_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_socket_that_was_shut_down_serves_no_more, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_socket_is_given_to_the_group, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

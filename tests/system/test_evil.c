/* A worker that was taken over: a module in it (tests/modules/evil) tries to get out, in each way
 * that docs/threat-model.md lists, and nothing comes of it. */
#include "daemon.h"

#include "common/base.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ATTEMPTS_MAX 300
#define MAPS_MAX     24000
#define SECRET       "nobody reads this"

/* --- what the document promises --- */

enum promise { PROMISE_REFUSED, PROMISE_HARMLESS };

struct row {
    char name[64];
    enum promise promise;
};

struct rows {
    size_t count;
    struct row row[ATTEMPTS_MAX];
};

/* "| `name` | what it tries | refused |", or "harmless" and why. */
static void
rows_take(struct rows *rows, char *line)
{
    struct row *row = &rows->row[rows->count];
    char *name = strtok(line, "|"), *result;

    (void)strtok(NULL, "|");
    result = strtok(NULL, "|");
    if (name == NULL || result == NULL || sscanf(name, " `%63[^`]`", row->name) != 1)
        return;
    row->promise = strncmp(result, " refused", 8) == 0 ? PROMISE_REFUSED : PROMISE_HARMLESS;
    if (row->promise == PROMISE_HARMLESS && strncmp(result, " harmless", 9) != 0)
        fail_msg("%s is neither refused nor harmless", row->name);
    assert_true(++rows->count < ATTEMPTS_MAX);
}

static void
rows_read(struct rows *rows)
{
    size_t n;
    char *text = harness_read_file(harness_source("docs/threat-model.md"), &n), *line, *end;

    assert_non_null(text);
    rows->count = 0;
    line = strstr(text, "\n## A worker that is taken over\n");
    assert_non_null(line);
    end = strstr(line + 1, "\n## ");
    *(end != NULL ? end : text + n) = '\0';
    while ((line = strchr(line, '\n')) != NULL) {
        char copy[1024];

        line++;
        snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(line, "\n"), line);
        if (copy[0] == '|')
            rows_take(rows, copy);
    }
    free(text);
}

/* --- a daemon with an evil worker and a good one --- */

struct suite {
    struct daemon *d;
    struct peer evil, sibling, spare;
    pid_t evil_pid, sibling_pid;
    char outside[HARNESS_PATH_LEN]; /* a directory of the workers' user, which is none of theirs */
    char module[HARNESS_PATH_LEN];
    int tcp, udp, stream, abstract, datagrams, port;
    unsigned wrong, untried;
};

/* NULL: the connection has ended. */
static char *
ask(struct peer *p, const char *text)
{
    const struct outgoing m = {
        .kind = 'A', .flags = WIRE_REPLY, .value = "", .body = text, .len = strlen(text)};
    struct answer a;
    size_t n;

    return peer_send(p, &m, &a) == ANSWER_ACK ? peer_reply(p, &n) : NULL;
}

static pid_t
ask_pid(struct peer *p)
{
    char *reply = ask(p, "pid");
    pid_t pid = reply != NULL ? atoi(reply) : -1;

    free(reply);
    return pid;
}

/* Connects until a connection is with a worker that is not that one. */
static pid_t
connect_to_another(struct suite *s, struct peer *p, pid_t not_this)
{
    pid_t pid = -1;

    for (int i = 0; i < 500 && (pid <= 0 || pid == not_this); i++) {
        if (peer_try_connect(p, &s->d->listeners[0], NULL) < 0)
            continue;
        pid = ask_pid(p);
        if (pid <= 0)
            peer_close(p);
    }
    assert_true(pid > 0 && pid != not_this);
    return pid;
}

static void
victim(struct suite *s, const char *name, const char *text, mode_t mode)
{
    char path[HARNESS_PATH_LEN];

    harness_join(path, s->outside, name);
    harness_write_file(path, text, strlen(text));
    assert_int_equal(chmod(path, mode), 0);
}

static int
listen_unix(const char *path, size_t path_len, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    assert_true(path_len < sizeof(address.sun_path));
    memcpy(address.sun_path, path, path_len);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len)),
                     0);
    assert_true(type != SOCK_STREAM || listen(fd, 8) == 0);
    return fd;
}

static int
listen_inet(int type, int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)*port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_true(type != SOCK_STREAM || listen(fd, 8) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* What a worker could connect to. */
static void
suite_listen(struct suite *s)
{
    char path[HARNESS_PATH_LEN];
    int master = (int)s->d->run.pid, n;

    s->port = 0;
    s->tcp = listen_inet(SOCK_STREAM, &s->port);
    s->udp = listen_inet(SOCK_DGRAM, &s->port);
    harness_join(path, s->outside, "listening");
    s->stream = listen_unix(path, strlen(path), SOCK_STREAM);
    assert_int_equal(chmod(path, 0666), 0);
    n = snprintf(path, sizeof(path), "%cmsockd-evil-%d", '\0', master);
    s->abstract = listen_unix(path, (size_t)n, SOCK_STREAM);
    n = snprintf(path, sizeof(path), "%cmsockd-evil-datagrams-%d", '\0', master);
    s->datagrams = listen_unix(path, (size_t)n, SOCK_DGRAM);
}

static void
suite_end(struct suite *s)
{
    close(s->tcp);
    close(s->udp);
    close(s->stream);
    close(s->abstract);
    close(s->datagrams);
}

static void
give_away(const char *dir, const char *user)
{
    char line[2 * HARNESS_PATH_LEN];

    snprintf(line, sizeof(line), "chown -R %s '%s'", user, dir);
    assert_int_equal(system(line), 0);
}

static void
write_config(const struct suite *s, const char *user, const char *args,
             char out[2 * HARNESS_PATH_LEN])
{
    snprintf(out, 2 * HARNESS_PATH_LEN,
             "workers = 2\nsandbox = require\n%s%s%s"
             "listen = {\"msp://127.0.0.1:0?handler=module&path=%s&args=%s\",\n"
             "\"msp://127.0.0.1:0\"}\n",
             user != NULL ? "user = " : "", user != NULL ? user : "", user != NULL ? "\n" : "",
             s->module, args);
}

/* user: that of the workers; NULL: ours. */
static void
suite_begin(struct suite *s, const char *user)
{
    char line[2 * HARNESS_PATH_LEN], dir[HARNESS_PATH_LEN], config[2 * HARNESS_PATH_LEN];

    *s = (struct suite){.wrong = 0};
    harness_directory(s->outside);
    victim(s, "secret", SECRET, 0600);
    victim(s, "doomed", "", 0600);
    snprintf(line, sizeof(line), "cd '%s' && mkdir empty && cp /bin/true program", s->outside);
    assert_int_equal(system(line), 0);
    if (user != NULL)
        give_away(s->outside, user);
    harness_directory(dir);
    harness_join(s->module, dir, "evil.so"); /* where the workers' user can read it */
    snprintf(line, sizeof(line), "cp '%s' '%s'", harness_program("tests/modules/evil.so"),
             s->module);
    assert_int_equal(system(line), 0);
    write_config(s, user, "", config);
    s->d = daemon_start(&(struct daemon_options){.config = config, .errors_expected = true});
    suite_listen(s);
    s->sibling_pid = connect_to_another(s, &s->sibling, -1);
    s->evil_pid = connect_to_another(s, &s->evil, s->sibling_pid);
    (void)connect_to_another(s, &s->spare, s->sibling_pid); /* for reuse-connection */
}

/* --- attempts --- */

/* The memory that the evil worker shares, as far as we may see it. */
static void
read_maps(pid_t pid, char out[MAPS_MAX])
{
    char path[64], line[512];
    FILE *maps;
    size_t n = 0;

    out[0] = '\0';
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        const char *mode = strchr(line, ' ');

        if (mode != NULL && mode[4] == 's' && n + strlen(line) < MAPS_MAX)
            n += (size_t)snprintf(out + n, MAPS_MAX - n, "%s", line);
    }
    if (maps != NULL)
        fclose(maps);
}

static char *
try_once(struct suite *s, const char *name, char maps[MAPS_MAX])
{
    static char text[MAPS_MAX + 3 * HARNESS_PATH_LEN + 128];

    read_maps(s->evil_pid, maps);
    snprintf(text, sizeof(text), "%s\n%d\n%d\n%d\n%s\n%s\n%s\n%s", name, (int)s->d->run.pid,
             (int)s->sibling_pid, s->port, s->outside, s->d->runtime_dir, s->d->config_path, maps);
    return ask(&s->evil, text);
}

/* The words of a refusal; others mean that the kernel went on and found something else wrong. */
static bool
is_refusal(const char *reply)
{
    static const char *const errors[] = {"EPERM", "EACCES", "ENOSYS",       "EXDEV",
                                         "EBADF", "ENOENT", "EAFNOSUPPORT", "ECONNREFUSED"};
    bool refused = false;

    for (size_t i = 0; i < MS_ARRAY_LEN(errors); i++)
        refused =
            refused || (strncmp(reply, "refused ", 8) == 0 && strcmp(reply + 8, errors[i]) == 0);
    return refused;
}

/* The master is there, and the sibling takes messages, as it did before. */
static void
check_others(struct suite *s, const char *name)
{
    if (!proc_alive(s->d->run.pid))
        fail_msg("%s: the master is gone", name);
    if (ask_pid(&s->sibling) != s->sibling_pid)
        fail_msg("%s: the sibling is gone", name);
}

static void
attempt(struct suite *s, const struct row *row)
{
    static char maps[MAPS_MAX];
    char *reply = try_once(s, row->name, maps);
    const char *said = reply != NULL ? reply : "the worker has ended";
    bool found_nothing = strcmp(said, "refused ENODATA") == 0;

    print_message("  %-32s %s\n", row->name, said);
    if (found_nothing && maps[0] == '\0') {
        s->untried++;
    } else if (found_nothing || (row->promise == PROMISE_REFUSED && !is_refusal(said))) {
        print_message("  ^ is not refused\n");
        s->wrong++;
    }
    check_others(s, row->name);
    if (reply == NULL)
        s->evil_pid = connect_to_another(s, &s->evil, s->sibling_pid);
    free(reply);
}

static void
expect_untouched(const struct suite *s)
{
    static const char *const there[] = {"secret", "doomed", "empty", "program", "listening"};
    char path[HARNESS_PATH_LEN], *text;
    struct stat st;
    size_t n = 0;
    DIR *dir = opendir(s->outside);

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    assert_int_equal(n, MS_ARRAY_LEN(there) + 2);
    for (size_t i = 0; i < MS_ARRAY_LEN(there); i++) {
        harness_join(path, s->outside, there[i]);
        assert_int_equal(lstat(path, &st), 0);
    }
    harness_join(path, s->outside, "secret");
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    text = harness_read_file(path, &n);
    assert_non_null(text);
    assert_string_equal(text, SECRET);
    free(text);
}

/* A new connection, a journal that commits, a reload, and the end, as if nothing had been. */
static void
expect_service(struct suite *s)
{
    struct answer a;
    struct peer p;

    peer_connect(&p, &s->d->listeners[1]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    peer_close(&p);
    daemon_reload(s->d);
    peer_connect(&p, &s->d->listeners[1]);
    assert_int_equal(peer_send_plain(&p, NULL, "y", 1, &a), ANSWER_ACK);
    daemon_stop(s->d);
}

static void
try_all(const char *user)
{
    static struct rows rows;
    struct suite s;

    rows_read(&rows);
    suite_begin(&s, user);
    for (size_t i = 0; i < rows.count; i++)
        attempt(&s, &rows.row[i]);
    expect_untouched(&s);
    suite_end(&s);
    expect_service(&s);
    if (s.untried > 0) /* it takes CAP_SYS_PTRACE */
        print_message("%u were not tried: the memory of a worker is not ours to see\n", s.untried);
    if (s.wrong > 0)
        fail_msg("%u attempts were not refused", s.wrong);
}

static void
no_attempt_of_a_worker_of_our_user_gets_out(void **state)
{
    (void)state;
    harness_need_sandbox();
    try_all(NULL);
}

static void
no_attempt_of_a_worker_of_another_user_gets_out(void **state)
{
    (void)state;
    harness_need_root();
    harness_need_sandbox();
    if (getpwnam("nobody") == NULL)
        skip();
    try_all("nobody");
}

/* What it says to the master before it is ready can only keep its own generation from beginning. */
static void
a_worker_that_lies_about_itself_changes_nothing(void **state)
{
    char config[2 * HARNESS_PATH_LEN];
    struct run_result result;
    struct suite s;

    (void)state;
    harness_need_sandbox();
    suite_begin(&s, NULL);
    write_config(&s, NULL, "lies", config);
    daemon_configure(s.d, config);
    result = daemon_control(s.d, "reload", NULL);
    assert_int_not_equal(result.status, 0);
    run_result_free(&result);
    check_others(&s, "lies");
    write_config(&s, NULL, "", config);
    daemon_configure(s.d, config);
    suite_end(&s);
    expect_service(&s);
}

/* --- the list --- */

static bool
rows_have(const struct rows *rows, const char *name)
{
    for (size_t i = 0; i < rows->count; i++)
        if (strcmp(rows->row[i].name, name) == 0)
            return true;
    return false;
}

static void
the_document_has_each_attempt_and_no_other(void **state)
{
    static struct rows rows;
    struct suite s;
    char *names, *rest, *name;
    size_t n = 0;

    (void)state;
    harness_need_sandbox();
    rows_read(&rows);
    suite_begin(&s, NULL);
    rest = names = ask(&s.evil, "names");
    assert_non_null(names);
    while ((name = strsep(&rest, "\n")) != NULL && name[0] != '\0') {
        if (!rows_have(&rows, name))
            fail_msg("docs/threat-model.md has no row for %s", name);
        n++;
    }
    free(names);
    assert_int_equal(n, rows.count);
    assert_true(n >= 60);
    suite_end(&s);
    daemon_stop(s.d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_document_has_each_attempt_and_no_other),
        SYSTEM_TEST(no_attempt_of_a_worker_of_our_user_gets_out),
        SYSTEM_TEST(no_attempt_of_a_worker_of_another_user_gets_out),
        SYSTEM_TEST(a_worker_that_lies_about_itself_changes_nothing),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

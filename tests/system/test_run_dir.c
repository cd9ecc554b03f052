/* What becomes of a running daemon whose runtime directory, or a file in it, was removed, moved or
 * replaced: it goes on, says so, and touches nothing of the same name that is not its own. */
#include "daemon.h"
#include "stats.h"

#include "support/signals.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONG_MS 30000

static void
send_one(const struct daemon *d)
{
    struct answer a;
    struct peer p;

    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    peer_close(&p);
}

/* The daemon supervises, reloads and serves. */
static void
check_goes_on(struct daemon *d)
{
    struct proc_list before, now;

    daemon_workers(d, &before);
    signal_send(before.pid[0], SIGKILL);
    WAIT_FOR(
        (daemon_workers(d, &now), now.count == before.count && !proc_list_has(&now, before.pid[0])),
        LONG_MS);
    send_one(d);
    signal_send(d->run.pid, SIGHUP);
    WAIT_FOR(daemon_logged(d, "reloaded: generation 2"), LONG_MS);
    send_one(d);
}

/* msockctl COMMAND fails and says this. */
static void
check_said(const struct daemon *d, const char *command, const char *text)
{
    struct run_result r = daemon_control(d, command, NULL);

    if (strstr(r.err, text) == NULL)
        fail_msg("%s does not say \"%s\" but: %s%s", command, text, r.out, r.err);
    run_result_free(&r);
}

static void
check_all_say(const struct daemon *d, const char *text)
{
    static const char *const commands[] = {"stats", "workers", "reload", "stop", "quit"};
    char pid[32];

    snprintf(pid, sizeof(pid), "process %d", (int)d->run.pid);
    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++) {
        check_said(d, commands[i], text);
        check_said(d, commands[i], pid);
    }
}

/* Its own name for a file in the runtime directory. */
static const char *
in_run(const struct daemon *d, const char *name)
{
    static char path[HARNESS_PATH_LEN];

    harness_join(path, d->runtime_dir, name);
    return path;
}

static struct daemon *
start_one(void)
{
    return daemon_start(&(struct daemon_options){.workers = 1, .errors_expected = true});
}

static void
a_directory_that_was_removed_is_said_by_all(void **state)
{
    struct daemon *d = start_one();

    (void)state;
    harness_remove_tree(d->runtime_dir);
    WAIT_FOR(daemon_logged(d, "it was removed"), LONG_MS);
    check_all_say(d, "its runtime directory was removed");
    check_goes_on(d);
    daemon_stop(d);
    assert_int_equal(access(d->runtime_dir, F_OK), -1);
}

static void
another_directory_says_where_masters_run(void **state)
{
    struct daemon *d = start_one();
    struct run_result result =
        run_program(harness_program("msockctl"), "-r", in_run(d, "nothing"), "stats", NULL);
    char said[HARNESS_PATH_LEN + 64];

    (void)state;
    snprintf(said, sizeof(said), "a msockd runs as process %d in %s\n", (int)d->run.pid,
             d->runtime_dir);
    assert_non_null(strstr(result.err, said));
    assert_null(strstr(result.err, d->data_dir)); /* of workers */
    run_result_free(&result);
    daemon_stop(d);
}

/* Every file there is, and who it is: name, inode and size. */
static void
list_files(const char *dir, char *out, size_t size)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    char path[HARNESS_PATH_LEN];
    size_t len = 0;
    struct stat st;

    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        harness_join(path, dir, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && lstat(path, &st) == 0)
            len += (size_t)snprintf(out + len, size - len, "%s %lu %ld\n", names[i]->d_name,
                                    (unsigned long)st.st_ino, (long)st.st_size);
        free(names[i]);
    }
    free(names);
}

/* In a directory that was remade under the name of the first one's. */
static void
two_daemons_of_one_name_leave_each_other_alone(void **state)
{
    struct daemon *first = start_one(), *second;
    char moved[HARNESS_PATH_LEN], before[4096] = "", after[4096] = "";
    struct run_result r;

    (void)state;
    harness_join(moved, first->dir, "moved");
    assert_int_equal(rename(first->runtime_dir, moved), 0);
    WAIT_FOR(daemon_logged(first, "it was moved to "), LONG_MS);
    check_said(first, "stats", moved);
    second = daemon_create(&(struct daemon_options){.workers = 1});
    memcpy(second->runtime_dir, first->runtime_dir, sizeof(second->runtime_dir));
    daemon_launch(second);
    WAIT_FOR(daemon_logged(first, "another directory has its name now"), LONG_MS);
    list_files(second->runtime_dir, before, sizeof(before));
    check_goes_on(first);
    daemon_stop(first);
    list_files(second->runtime_dir, after, sizeof(after));
    assert_string_equal(before, after);
    send_one(second);
    assert_int_equal(stats_total(second, "messages"), 1);
    r = daemon_control(second, "stop", NULL);
    assert_int_equal(r.status, 0);
    run_result_free(&r);
    daemon_finish(second, LONG_MS);
}

static void
nothing_is_written_where_a_link_leads_that_took_the_name(void **state)
{
    struct daemon *d = start_one();
    char moved[HARNESS_PATH_LEN], other[HARNESS_PATH_LEN], files[4096] = "";

    (void)state;
    harness_join(moved, d->dir, "moved");
    harness_directory(other);
    assert_int_equal(rename(d->runtime_dir, moved), 0);
    assert_int_equal(symlink(other, d->runtime_dir), 0);
    WAIT_FOR(daemon_logged(d, "a symbolic link has its name now"), LONG_MS);
    check_goes_on(d);
    daemon_stop(d);
    list_files(other, files, sizeof(files));
    assert_string_equal(files, "");
    harness_join(other, moved, "msockd.pid"); /* ours, wherever it is */
    assert_int_equal(access(other, F_OK), -1);
}

/* The daemon, which looks now and then, sees all of it or nothing. */
static void
remove_files(const struct daemon *d, const char *const *names, size_t count, bool replace)
{
    proc_stop(d->run.pid);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(unlink(in_run(d, names[i])), 0);
        if (replace)
            harness_write_file(in_run(d, names[i]), "a stranger's", 12);
    }
    proc_go_on(d->run.pid);
}

/* As whoever cleans up old files would do. */
static void
removed_files_are_said_and_let_no_second_daemon_in(void **state)
{
    static const char *const names[] = {"lock", "control", "msockd.pid", "stats.0"};
    struct daemon *d = start_one(), *second = daemon_create(&(struct daemon_options){.workers = 1});
    char files[4096] = "", pid[32];
    struct run_result r;

    (void)state;
    remove_files(d, names, MS_ARRAY_LEN(names), false);
    WAIT_FOR(daemon_logged(d, "lock was removed in it, control was removed in it, msockd.pid was "
                              "removed in it"),
             LONG_MS);
    check_all_say(d, "its files were removed from here");
    memcpy(second->runtime_dir, d->runtime_dir, sizeof(second->runtime_dir));
    r = daemon_fail(second);
    snprintf(pid, sizeof(pid), "(pid %d)", (int)d->run.pid);
    assert_int_equal(r.status, 75);
    assert_non_null(strstr(r.err, pid));
    run_result_free(&r);
    check_goes_on(d);
    list_files(d->runtime_dir, files, sizeof(files));
    assert_string_equal(files, "");
    daemon_stop(d);
}

/* The statistics are all there, so they are shown. */
static void
a_daemon_without_its_lock_file_is_not_called_dead(void **state)
{
    struct daemon *d = start_one();
    json_t *stats;

    (void)state;
    assert_int_equal(unlink(in_run(d, "lock")), 0);
    check_said(d, "stats", "its files were removed from here");
    stats = stats_read(d, "stats");
    assert_true(json_is_true(json_object_get(stats, "alive")));
    json_decref(stats);
    check_said(d, "stop", "its files were removed from here");
    daemon_stop(d);
}

static void
files_of_a_stranger_stay(void **state)
{
    static const char *const names[] = {"lock", "control", "msockd.pid", "stats.0"};
    struct daemon *d = start_one();
    char before[4096] = "", after[4096] = "";

    (void)state;
    remove_files(d, names, MS_ARRAY_LEN(names), true);
    WAIT_FOR(daemon_logged(d, "msockd.pid was replaced in it"), LONG_MS);
    list_files(d->runtime_dir, before, sizeof(before));
    check_goes_on(d);
    daemon_stop(d);
    list_files(d->runtime_dir, after, sizeof(after));
    assert_string_equal(before, after);
}

/* systemd-tmpfiles leaves a directory alone on which somebody else holds such a lock. */
static void
cleaners_of_old_files_are_kept_out(void **state)
{
    struct daemon *d = start_one();
    int fd = open(d->runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    daemon_stop(d);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}

/* --- the file of a Unix socket --- */

static struct daemon *
start_unix(char path[HARNESS_PATH_LEN])
{
    static char url[HARNESS_PATH_LEN + 16];
    char dir[HARNESS_PATH_LEN];

    harness_directory(dir);
    harness_join(path, dir, "s");
    snprintf(url, sizeof(url), "msp://%s", path);
    return daemon_start(&(struct daemon_options){.workers = 1, .listen = {url}});
}

static void
a_reload_makes_a_socket_anew_that_was_removed(void **state)
{
    char path[HARNESS_PATH_LEN];
    struct daemon *d = start_unix(path);

    (void)state;
    assert_int_equal(unlink(path), 0);
    WAIT_FOR(daemon_logged(d, "the socket's file was removed"), LONG_MS);
    daemon_reload(d);
    send_one(d);
    daemon_reload(d); /* and this one keeps it */
    send_one(d);
    daemon_stop(d);
    assert_int_equal(access(path, F_OK), -1);
}

/* Its old socket still lingers then. */
static void
a_removed_unix_listener_comes_back(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 1, .config = ""});
    char away[HARNESS_PATH_LEN + 64], back[HARNESS_PATH_LEN + 64];

    (void)state;
    snprintf(away, sizeof(away), "listen = \"msp://%s/away\"\n", d->dir);
    snprintf(back, sizeof(back), "listen = \"msp://%s/s\"\n", d->dir);
    daemon_configure(d, back);
    daemon_launch(d);
    daemon_configure(d, away);
    daemon_reload(d);
    daemon_configure(d, back);
    daemon_reload(d);
    send_one(d);
    assert_false(daemon_logged(d, "another file has taken"));
    daemon_stop(d);
}

static void
a_strangers_file_in_a_sockets_place_stays(void **state)
{
    char path[HARNESS_PATH_LEN];
    struct daemon *d = start_unix(path);

    (void)state;
    assert_int_equal(unlink(path), 0);
    harness_write_file(path, "a stranger's", 12);
    WAIT_FOR(daemon_logged(d, "another file has taken the socket's name"), LONG_MS);
    daemon_reload(d);
    daemon_stop(d);
    assert_int_equal(access(path, F_OK), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_directory_that_was_removed_is_said_by_all),
        SYSTEM_TEST(another_directory_says_where_masters_run),
        SYSTEM_TEST(two_daemons_of_one_name_leave_each_other_alone),
        SYSTEM_TEST(nothing_is_written_where_a_link_leads_that_took_the_name),
        SYSTEM_TEST(removed_files_are_said_and_let_no_second_daemon_in),
        SYSTEM_TEST(a_daemon_without_its_lock_file_is_not_called_dead),
        SYSTEM_TEST(files_of_a_stranger_stay),
        SYSTEM_TEST(cleaners_of_old_files_are_kept_out),
        SYSTEM_TEST(a_reload_makes_a_socket_anew_that_was_removed),
        SYSTEM_TEST(a_removed_unix_listener_comes_back),
        SYSTEM_TEST(a_strangers_file_in_a_sockets_place_stays),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* What the three programs say and how they end when something is wrong, and the options that only
 * tell something. */
#include "stats.h"
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX 12

struct row {
    const char *program;
    const char *words[WORDS_MAX];
    int status;
    const char *said[3]; /* parts of what stands on standard error, or on standard output for 0 */
};

static unsigned
count_lines(const char *text)
{
    unsigned lines = 0;

    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

/* Runs a row in a directory; a failure must be told in one sentence. */
static void
run_row(const struct row *row, const char *cwd)
{
    const char *argv[WORDS_MAX + 2] = {harness_program(row->program)};
    struct run_options how = {.cwd = cwd};
    struct run_result result;
    struct running r;
    const char *said;

    for (size_t i = 0; i < WORDS_MAX && row->words[i] != NULL; i++)
        argv[i + 1] = row->words[i];
    run_start(&r, argv, &how);
    run_finish(&r, 20000, &result);
    said = row->status == 0 ? result.out : result.err;
    if (result.status != row->status)
        fail_msg("%s %s ...: status %d, not %d; it said: %s%s", row->program,
                 row->words[0] != NULL ? row->words[0] : "", result.status, row->status, result.out,
                 result.err);
    for (size_t i = 0; i < 3 && row->said[i] != NULL; i++)
        if (strstr(said, row->said[i]) == NULL)
            fail_msg("%s %s: no \"%s\" in: %s", row->program, row->words[0], row->said[i], said);
    if (row->status != 0 && row->words[0] != NULL && /* without a word, the whole help is right */
        count_lines(result.err) > (row->status == 64 ? 2u : 1u))
        fail_msg("%s %s: more than a sentence: %s", row->program, row->words[0], result.err);
    run_result_free(&result);
}

static void
run_rows(const struct row *rows, size_t count, const char *cwd)
{
    for (size_t i = 0; i < count; i++)
        run_row(&rows[i], cwd);
}

static void
the_telling_options_tell(void **state)
{
    static const struct row rows[] = {
        {"msockd", {"-h"}, 0, {"--workers", "--listen", "--config"}},
        {"msockd", {"--help"}, 0, {"--workers", NULL}},
        {"msockd", {"-V"}, 0, {MSOCK_VERSION_TEXT, NULL}},
        {"msockd", {"--version"}, 0, {MSOCK_VERSION_TEXT, NULL}},
        {"msockctl", {"-h"}, 0, {"stats", "conns", "reload"}},
        {"msockctl", {"-V"}, 0, {MSOCK_VERSION_TEXT, NULL}},
        {"msock", {"-h"}, 0, {"send", "send-json", "send-file"}},
        {"msock", {"-V"}, 0, {MSOCK_VERSION_TEXT, NULL}},
    };
    char dir[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    run_rows(rows, MS_ARRAY_LEN(rows), dir);
}

static void
wrong_usage_ends_with_64(void **state)
{
    static const struct row rows[] = {
        {"msockd", {"--no-such-option"}, 64, {"no-such-option", NULL}},
        {"msockd", {"-w"}, 64, {NULL}},
        {"msockd", {"surplus"}, 64, {"surplus", NULL}},
        {"msockctl", {NULL}, 64, {NULL}},
        {"msockctl", {"no-such-command"}, 64, {"no-such-command", NULL}},
        {"msockctl", {"stats", "--no-such-option"}, 64, {"no-such-option", NULL}},
        {"msockctl", {"events", "--worker", "first"}, 64, {"\"first\" is no number", NULL}},
        {"msockctl", {"events", "--worker", "-1"}, 64, {"\"-1\" is no number", NULL}},
        {"msockctl", {"wait", "--generation", "0"}, 64, {"\"0\" is no number", NULL}},
        {"msockctl",
         {"wait", "--generation", "18446744073709551617"},
         64,
         {"\"18446744073709551617\" is no number", NULL}},
        {"msock", {NULL}, 64, {NULL}},
        {"msock", {"no-such-command"}, 64, {"no-such-command", NULL}},
        {"msock", {"send", "--no-such-option", "x"}, 64, {"no-such-option", NULL}},
        {"msock", {"-u", "gopher://127.0.0.1:1", "send", "x"}, 64, {"gopher", NULL}},
        {"msock", {"-u", "msp://a:1,,b:2", "send", "x"}, 64, {"a server is missing", NULL}},
        {"msock", {"-u", "msp://a,b?pick=1", "send", "x"}, 64, {"pick is first, random", NULL}},
        {"msock", {"-u", "msp://a,b?pick=1", "bench"}, 64, {"pick is first, random", NULL}},
        {"msock", {"listen", "-u", "msp://a:1,b:1"}, 64, {"one address is wanted here", NULL}},
        {"msockd", {"-l", "msp://a:1,b:1"}, 78, {"one address is wanted here", NULL}},
    };
    char dir[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    run_rows(rows, MS_ARRAY_LEN(rows), dir);
}

static void
a_wrong_configuration_ends_with_78_and_names_its_place(void **state)
{
    static const struct {
        const char *text, *said;
    } files[] = {
        {"workers = 2\n\nno_such_option = 1\n", "bad.conf:3"},
        {"workers = many\n", "bad.conf:1"},
        {"timeout = \"soon\"\n", "timeout"},
        {"workers = 2\nlisten = {\"msp://127.0.0.1:99999\"}\n", "99999"},
        {"listen = {\n", "bad.conf"},
    };
    static const struct row rows[] = {
        {"msockd", {"-t", "-o", "no_such_option=1"}, 78, {"no_such_option", NULL}},
        {"msockd", {"-t", "-o", "timeout=soon"}, 78, {"timeout", "soon", NULL}},
        {"msockd", {"-t", "-w", "0"}, 78, {"0", NULL}},
        {"msockd", {"-t", "-w", "1000"}, 78, {"1000", NULL}},
        {"msockd", {"-t", "-l", "gopher://127.0.0.1:0"}, 78, {"gopher", NULL}},
        {"msockd", {"-t", "-l", "msp://127.0.0.1:0?no=1"}, 78, {"no", NULL}},
        {"msockd", {"-t", "-l", "msp:///s?handler=exec&command=cat x"}, 78, {"blank is %20", NULL}},
        {"msockd",
         {"-t", "-l", "auto://127.0.0.1:0?key_file=/not/there"},
         78,
         {"/not/there", "key file", NULL}},
        {"msockd", {"-t", "-H", "nobody"}, 78, {"nobody", NULL}},
        {"msockd", {"-t", "-c", "not-there.conf"}, 78, {"not-there.conf", NULL}},
        {"msockd", {"-w", "0"}, 78, {"0", NULL}},
    };
    char dir[HARNESS_PATH_LEN], path[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    harness_join(path, dir, "bad.conf");
    for (size_t i = 0; i < MS_ARRAY_LEN(files); i++) {
        struct row row = {"msockd", {"-t", "-c", "bad.conf"}, 78, {files[i].said}};

        harness_write_file(path, files[i].text, strlen(files[i].text));
        run_row(&row, dir);
    }
    run_rows(rows, MS_ARRAY_LEN(rows), dir);
    unlink(path);
    assert_int_equal(rmdir(dir), 0); /* a test of the configuration creates nothing */
}

static void
a_right_configuration_passes_the_test(void **state)
{
    struct run_result result;
    const char *sample = harness_source("etc/msockd.conf");

    (void)state;
    result = run_program(harness_program("msockd"), "-t", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    result = run_program(harness_program("msockd"), "-t", "-c", sample, NULL);
    if (result.status != 0)
        fail_msg("the sample configuration: %s", result.err);
    run_result_free(&result);
}

static void
a_port_in_use_ends_with_69_and_names_it(void **state)
{
    struct daemon *first = daemon_start(&(struct daemon_options){.workers = 1});
    struct daemon *second = daemon_create(&(struct daemon_options){.workers = 1});
    struct run_result result;
    char port[16];

    (void)state;
    second->options.listen[0] = first->listeners[0].url;
    snprintf(port, sizeof(port), ":%u", target_port(&first->listeners[0]));
    result = daemon_fail(second);
    assert_int_equal(result.status, 69);
    assert_non_null(strstr(result.err, port));
    assert_int_equal(count_lines(result.err), 1);
    run_result_free(&result);
    daemon_stop(first);
}

static void
a_directory_that_cannot_be_made_ends_with_73(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 1});
    char file[HARNESS_PATH_LEN], below[HARNESS_PATH_LEN], good[HARNESS_PATH_LEN];
    struct run_result result;

    (void)state;
    harness_join(file, d->dir, "file");
    harness_write_file(file, "x", 1);
    harness_join(below, file, "data");
    memcpy(good, d->data_dir, sizeof(good));
    memcpy(d->data_dir, below, sizeof(below));
    result = daemon_fail(d);
    assert_int_equal(result.status, 73);
    assert_non_null(strstr(result.err, file));
    assert_int_equal(count_lines(result.err), 1);
    run_result_free(&result);
    memcpy(d->data_dir, good, sizeof(good));
    memcpy(d->runtime_dir, below, sizeof(below));
    result = daemon_fail(d);
    assert_int_equal(result.status, 73);
    assert_non_null(strstr(result.err, file));
    run_result_free(&result);
}

/* As root everything is writable, so the workers are somebody else. */
static void
a_data_directory_that_workers_cannot_write_ends_with_73(void **state)
{
    struct daemon *d =
        daemon_create(&(struct daemon_options){.workers = 1, .set = {"user=nobody"}});
    struct run_result result;
    char files[HARNESS_PATH_LEN];

    (void)state;
    harness_need_root();
    assert_int_equal(chmod(d->dir, 0700), 0); /* they do not even get there */
    assert_int_equal(mkdir(d->data_dir, 0700), 0);
    harness_join(files, d->data_dir, "files");
    assert_int_equal(mkdir(files, 0500), 0);
    result = daemon_fail(d);
    if (result.status != 73 && result.status != 77)
        fail_msg("status %d: %s", result.status, result.err);
    assert_non_null(strstr(result.err, d->data_dir));
    run_result_free(&result);
}

/* What was printed to a full disk, or to nowhere, was not printed. */
static void
a_full_standard_output_is_no_success(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "echo"});
    const char *url = d->listeners[0].url, *run = d->runtime_dir;
    const struct {
        const char *program, *words;
    } cases[] = {{"msock", "-u URL send --reply x"},
                 {"msock", "-u URL send --json x"},
                 {"msock", "-u URL send-json --json 1"},
                 {"msock", "-u URL send-json --lines --json"},
                 {"msock", "-u URL bench -n 10 --json"},
                 {"msock", "--version"},
                 {"msock", "--help"},
                 {"msock", "send --help"},
                 {"msockd", "--version"},
                 {"msockd", "--help"},
                 {"msockd", "-t -d $PWD"},
                 {"msockctl", "--version"},
                 {"msockctl", "--help"},
                 {"msockctl", "-r RUN stats"},
                 {"msockctl", "-r RUN stats --json"},
                 {"msockctl", "-r RUN stats --prometheus"},
                 {"msockctl", "-r RUN conns"},
                 {"msockctl", "-r RUN workers"},
                 {"msockctl", "-r RUN listeners"}};

    (void)state;
    for (size_t i = 0; i < 2 * MS_ARRAY_LEN(cases); i++) {
        const char *words = cases[i / 2].words, *program = cases[i / 2].program;
        struct run_result result;
        char line[3 * HARNESS_PATH_LEN];

        snprintf(line, sizeof(line),
                 "cd %s; set -- $(echo '%s' | sed \"s|URL|$1|; s|RUN|$2|; s|\\$PWD|$PWD|\");"
                 " exec %s \"$@\" </dev/null %s",
                 d->dir, words, harness_program(program), i % 2 == 0 ? ">/dev/full" : ">&-");
        result = run_program("/bin/sh", "-c", line, "sh", url, run, NULL);
        if (result.status != 74)
            fail_msg("%s %s: status %d: %s", program, words, result.status, result.err);
        run_result_free(&result);
    }
    daemon_stop(d);
}

/* Input that is closed is not empty, and the place of a temporary file is no input. */
static void
what_cannot_be_read_or_copied_is_no_success(void **state)
{
    static const struct {
        const char *command;
        int status;
        const char *says;
    } cases[] = {
        {"$M -u $U send - <&-", 66, "cannot read standard input"},
        {"$M -u $U send --lines <&-", 66, "cannot read the input"},
        {"$M -u $U send-file --as a.txt - <&-", 66, "cannot be read"},
        {"seq 9 | TMPDIR=/nonexistent $M -u $U send-file --as a.txt -", 73, "/nonexistent"},
    };
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct run_result result;
        char line[2 * HARNESS_PATH_LEN];

        snprintf(line, sizeof(line), "M=%s U=$1; %s", harness_program("msock"), cases[i].command);
        result = run_program("/bin/sh", "-c", line, "sh", d->listeners[0].url, NULL);
        if (result.status != cases[i].status || strstr(result.err, cases[i].says) == NULL)
            fail_msg("%s: status %d: %s", cases[i].command, result.status, result.err);
        run_result_free(&result);
    }
    assert_int_equal(stats_total(d, "messages"), 0);
    daemon_stop(d);
}

/* A dump that no file holds, a FIFO and a file of /proc are stored whole. */
static void
what_tells_no_size_is_sent_as_a_file(void **state)
{
    static const char *const commands[] = {
        "seq 100000 | $M -u $U send-file --as a.txt -",
        "mkfifo fifo; seq 100000 >fifo & $M -u $U send-file --as b.txt fifo",
        "seq 100000 >a; $M -u $U send-file --as c.txt - <a",
        "cat /proc/filesystems >a; $M -u $U send-file --as proc.txt /proc/filesystems",
        "$M -u $U send-file --as none.txt - </dev/null",
    };
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++) {
        struct run_result result;
        char line[2 * HARNESS_PATH_LEN];

        snprintf(line, sizeof(line), "set -e; cd %s; M=%s U=$1; %s", d->dir,
                 harness_program("msock"), commands[i]);
        result = run_program("/bin/sh", "-c", line, "sh", d->listeners[0].url, NULL);
        if (result.status != 0)
            fail_msg("%s: status %d: %s", commands[i], result.status, result.err);
        run_result_free(&result);
        snprintf(line, sizeof(line),
                 "set -e; cd %s/files; case %zu in [012]) seq 100000 | cmp - ?.txt; rm ?.txt;;"
                 " 3) cmp ../../a proc.txt;; 4) [ -f none.txt ] && [ ! -s none.txt ];; esac",
                 d->data_dir, i);
        result = run_program("/bin/sh", "-c", line, NULL);
        if (result.status != 0)
            fail_msg("%s: not what was sent: %s%s", commands[i], result.out, result.err);
        run_result_free(&result);
    }
    daemon_stop(d);
}

static void
msockctl_without_a_daemon_says_so(void **state)
{
    static const char *const commands[] = {"stats",  "conns", "workers", "listeners",
                                           "reload", "stop",  "quit",    "reopen"};
    char dir[HARNESS_PATH_LEN];

    (void)state;
    harness_directory(dir);
    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++) {
        struct run_result result =
            run_program(harness_program("msockctl"), "-r", dir, commands[i], NULL);

        if (result.status == 0 || count_lines(result.err) != 1)
            fail_msg("msockctl %s: status %d, %s", commands[i], result.status, result.err);
        run_result_free(&result);
    }
}

static void
every_view_of_msockctl_works_on_a_running_daemon(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    static const char *const commands[] = {"stats", "conns", "workers", "listeners"};
    struct run_result result;
    struct answer a;
    struct peer p;
    json_t *value;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    for (size_t i = 0; i < 4; i++) {
        result = daemon_control(d, commands[i], NULL);
        assert_int_equal(result.status, 0);
        assert_true(count_lines(result.out) >= 1);
        run_result_free(&result);
        value = stats_read(d, commands[i]);
        assert_true(json_is_array(value) == (i > 0));
        json_decref(value);
    }
    result = daemon_control(d, "conns", "--sort", "bytes_in", NULL);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.out, p.name));
    run_result_free(&result);
    result = daemon_control(d, "conns", "--listener", d->listeners[0].url, "--json", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    result = daemon_control(d, "conns", "--sort", "no_such_column", NULL);
    assert_int_equal(result.status, 64);
    run_result_free(&result);
    daemon_stop(d);
}

/* In a directory of its own, beside a part that is no program. */
static void
a_part_that_does_not_run_is_named(void **state)
{
    char dir[HARNESS_PATH_LEN], program[HARNESS_PATH_LEN], part[HARNESS_PATH_LEN];
    const char *const argv[] = {program, "top", NULL};
    struct run_options how = {0};
    struct run_result result;
    struct running r;
    char *bytes;
    size_t n;

    (void)state;
    harness_directory(dir);
    harness_join(program, dir, "msockctl");
    harness_join(part, dir, "msockctl-top");
    bytes = harness_read_file(harness_program("msockctl"), &n);
    assert_non_null(bytes);
    harness_write_file(program, bytes, n);
    free(bytes);
    assert_int_equal(chmod(program, 0755), 0);
    harness_write_file(part, "", 0);
    run_start(&r, argv, &how);
    run_finish(&r, 20000, &result);
    assert_int_equal(result.status, 69);
    assert_non_null(strstr(result.err, part));
    assert_non_null(strstr(result.err, "Permission denied; install libncurses-dev"));
    run_result_free(&result);
}

static void
what_workers_hold_for_peers_is_told(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 2, .set = {"worker_memory_max=4M"}});
    struct peer p;

    (void)state;
    WAIT_FOR(stats_total(d, "memory_max") == 8 << 20, 10000);
    assert_int_equal(stats_total(d, "memory"), 0);
    peer_connect(&p, &d->listeners[0]);
    WAIT_FOR(stats_total(d, "memory") > 0, 10000);
    peer_close(&p);
    WAIT_FOR(stats_total(d, "memory") == 0, 10000);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_telling_options_tell),
        SYSTEM_TEST(wrong_usage_ends_with_64),
        SYSTEM_TEST(a_wrong_configuration_ends_with_78_and_names_its_place),
        SYSTEM_TEST(a_right_configuration_passes_the_test),
        SYSTEM_TEST(a_port_in_use_ends_with_69_and_names_it),
        SYSTEM_TEST(a_directory_that_cannot_be_made_ends_with_73),
        SYSTEM_TEST(a_data_directory_that_workers_cannot_write_ends_with_73),
        SYSTEM_TEST(a_full_standard_output_is_no_success),
        SYSTEM_TEST(what_cannot_be_read_or_copied_is_no_success),
        SYSTEM_TEST(what_tells_no_size_is_sent_as_a_file),
        SYSTEM_TEST(msockctl_without_a_daemon_says_so),
        SYSTEM_TEST(every_view_of_msockctl_works_on_a_running_daemon),
        SYSTEM_TEST(a_part_that_does_not_run_is_named),
        SYSTEM_TEST(what_workers_hold_for_peers_is_told),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* msock chat: from a pipe what comes in is printed, also where it was read while a line was sent;
 * on a terminal characters are text, whatever the locale, and cannot drive it. */
#include "daemon.h"
#include "raw_frame.h"
#include "schemes.h"
#include "target.h"

#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdio.h>
#include <string.h>

#define LINES  "one\ntwo\nthree\n"
#define ROUNDS 5 /* what is read when is a matter of luck */

/* All of them at once: an answer has two seconds to come. */
static void
expect_answers_printed(const char *scheme, const struct target *server)
{
    struct run_options how = {.input = LINES, .input_len = strlen(LINES)};
    const char *argv[] = {harness_program("msock"), "chat", "-u", NULL, "--wait", "2", NULL};
    struct running r[ROUNDS];
    char url[80];

    snprintf(url, sizeof(url), "%s://127.0.0.1:%u", scheme, target_port(server));
    argv[3] = url;
    for (unsigned i = 0; i < ROUNDS; i++)
        run_start(&r[i], argv, &how);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct run_result result;

        run_finish(&r[i], 10000, &result);
        if (result.status != 0 || strcmp(result.out, LINES) != 0)
            fail_msg("%s: status %d, printed \"%s\", said \"%s\"", url, result.status, result.out,
                     result.err);
        run_result_free(&result);
    }
}

static void
answers_are_printed_over_every_protocol(void **state)
{
    const char *scheme;
    char listen[80];

    (void)state;
    for (size_t k = 0; (scheme = scheme_at(k, true)) != NULL; k++) {
        struct daemon *d;

        snprintf(listen, sizeof(listen), "%s://127.0.0.1:0?reply=yes", scheme);
        d = daemon_start(&(struct daemon_options){.handler = "echo", .listen = {listen}});
        expect_answers_printed(scheme, &d->listeners[0]);
        daemon_stop(d);
    }
}

/* What a shell prints that runs the script with the programs as $M and $U, the server. */
static struct run_result
shell(const char *script, const struct daemon *d)
{
    char words[2 * HARNESS_PATH_LEN];

    snprintf(words, sizeof(words), "M=%s U=frame://127.0.0.1:%u; cd $1; %s",
             harness_program("msock"), target_port(&d->listeners[0]), script);
    return run_program("/bin/sh", "-c", words, "sh", d->dir, NULL);
}

static void
a_message_that_is_no_text_is_base64_in_json(void **state)
{
    static const char script[] =
        "mkfifo in && { $M chat -u $U --json <in >out & } && exec 3>in &&"
        "printf 'a\\377b\\nc\\n' >&3 &&"
        "until grep -q c out; do sleep 0.01; done; exec 3>&-; wait; cat out";
    struct daemon *d = daemon_start(
        &(struct daemon_options){.handler = "echo", .listen = {"frame://127.0.0.1:0"}});
    struct run_result result = shell(script, d);

    (void)state;
    assert_string_equal(result.out, "{\"base64\":\"Yf9i\"}\n{\"text\":\"c\"}\n");
    run_result_free(&result);
    daemon_stop(d);
}

static void
output_that_cannot_be_written_ends_it(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.handler = "echo", .listen = {"frame://127.0.0.1:0"}});
    struct run_result result = shell("echo hello | $M chat -u $U --wait 1000000 >/dev/full", d);

    (void)state;
    assert_int_equal(result.status, 74);
    assert_string_equal(result.err,
                        "msock: cannot write to standard output: No space left on device\n");
    run_result_free(&result);
    daemon_stop(d);
}

/* --- on a terminal --- */

struct terminal {
    pid_t pid;
    int fd;
    char shown[4096];
    size_t len;
};

static void
terminal_start(struct terminal *t, const struct target *server)
{
    char url[80];

    snprintf(url, sizeof(url), "frame://127.0.0.1:%u", target_port(server));
    t->len = 0;
    t->pid = forkpty(&t->fd, NULL, NULL, NULL);
    assert_true(t->pid >= 0);
    if (t->pid > 0)
        return;
    setenv("TERM", "xterm", 1);
    setenv("LC_ALL", "C", 1);
    execl(harness_program("msock"), "msock", "chat", "-u", url, (char *)NULL);
    _exit(127);
}

static void
terminal_type(const struct terminal *t, const char *text)
{
    assert_int_equal(write(t->fd, text, strlen(text)), strlen(text));
}

/* Reads until the text is there; ends the test where it does not come. */
static void
terminal_expect(struct terminal *t, const char *text)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};

    t->shown[t->len] = '\0';
    while (strstr(t->shown, text) == NULL) {
        ssize_t n = poll(&p, 1, 10000) > 0
                        ? read(t->fd, t->shown + t->len, sizeof(t->shown) - 1 - t->len)
                        : 0;

        if (n <= 0)
            fail_msg("the terminal shows \"%s\", not \"%s\"", t->shown, text);
        t->len += (size_t)n;
        t->shown[t->len] = '\0';
    }
}

/* ^D, which ends it with status 0. */
static void
terminal_leave(struct terminal *t)
{
    int status;

    terminal_type(t, "\x04");
    while (read(t->fd, t->shown, sizeof(t->shown)) > 0)
        continue;
    assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(t->fd);
}

static void
on_a_terminal_characters_are_text_and_nothing_else(void **state)
{
    static const char text[] = "\xc2\x9b"
                               "2J \x9b"
                               "1m \x1b[2J \xe2\x80\xae \xc3\xa9 end";
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .handler = "broadcast", .listen = {"frame://127.0.0.1:0"}});
    struct terminal t;
    struct raw other;

    (void)state;
    raw_connect(&other, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    terminal_start(&t, &d->listeners[0]);
    terminal_expect(&t, "> ");
    terminal_type(&t, "\xe6\x97\xa5\xe6\x9c\xac x\r");
    raw_expect(&other, "\xe6\x97\xa5\xe6\x9c\xac x", 8);
    assert_int_equal(other.kind->send(&other, text, sizeof(text) - 1), 0);
    terminal_expect(&t, "?2J ?1m ?[2J ??? \xc3\xa9 end");
    terminal_leave(&t);
    raw_close(&other);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(answers_are_printed_over_every_protocol),
        SYSTEM_TEST(a_message_that_is_no_text_is_base64_in_json),
        SYSTEM_TEST(output_that_cannot_be_written_ends_it),
        SYSTEM_TEST(on_a_terminal_characters_are_text_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

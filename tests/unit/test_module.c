/* The handler over tests/modules/good.c, which does as it is told and writes down what it was
 * called for. */
#include "module_fixture.h"

#include "common/log.h"
#include "msock_module.h"

#include <dlfcn.h>

static void *object; /* the module, held here besides: its trace outlives the handler */
static char *trace;

static int
setup(void **state)
{
    struct module_test *t = module_test_create();
    char error[HANDLER_ERROR_LEN];

    *state = t;
    module_test_set_args(t, "as told");
    if (!module_test_start(t, "tests/modules/good", error))
        return -1;
    object = dlopen(t->path, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(object);
    trace = dlsym(object, "good_trace");
    assert_non_null(trace);
    return log_open(fixture_path(t->f, "log"));
}

static int
teardown(void **state)
{
    module_test_destroy(*state);
    trace[0] = '\0';
    dlclose(object);
    return log_open(NULL);
}

/* What the module wrote down since it was asked last. */
static const char *
traced(void)
{
    static char text[4096];

    snprintf(text, sizeof(text), "%s", trace);
    trace[0] = '\0';
    return text;
}

/* How often the log has that text. */
static unsigned
logged(struct module_test *t, const char *text)
{
    char *data = fixture_read(t->f, "log", NULL);
    unsigned count = 0;

    assert_non_null(data);
    for (const char *at = data; (at = strstr(at, text)) != NULL; at++)
        count++;
    free(data);
    return count;
}

/* --- order --- */

static void
every_callback_comes_in_its_turn(void **state)
{
    struct module_test *t = *state;
    char start[400];
    struct conn *c;

    snprintf(start, sizeof(start), "start %d/3 %s as told;", MSOCK_MODULE_ABI, t->f->dir);
    assert_string_equal(traced(), start);
    c = module_test_open(t, 0);
    module_test_send(t, c, "name ann");
    module_handler.tick(t->f->handler, 1000000);
    module_handler.finish(t->f->handler);
    module_test_close(t, c, false);
    module_test_stop(t);
    assert_string_equal(traced(), "open 10.0.0.0:1;message 10.0.0.0:1 name ann/8 A /0 1 51;tick;"
                                  "close 10.0.0.0:1 Ann -1 0;stop;");
}

static void
a_message_is_seen_as_it_came(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 1);
    struct message *m = fixture_message(t->f, MESSAGE_FILE, "a/b.txt", "x", 1);

    traced();
    m->place = c;
    m->wants_reply = false;
    module_handler.submit(t->f->handler, m);
    assert_string_equal(traced(), "message 10.0.0.1:1 x/1 F a/b.txt/7 0 2d;");
    module_test_send(t, NULL, "");
    assert_string_equal(traced(), "message nobody /0 A /0 1 e3;");
}

static void
a_message_in_a_file_is_seen_in_one_piece(void **state)
{
    struct module_test *t = *state;
    char body[20001];

    memset(body, ' ', sizeof(body) - 1);
    memcpy(body, "reply whole", 11);
    body[sizeof(body) - 1] = '\0';
    traced();
    module_test_send(t, module_test_open(t, 0), body);
    assert_memory_equal(t->f->settled[0].reply, "whole", 5);
    assert_non_null(strstr(traced(), "/20000 A "));
}

static void
a_body_that_was_not_kept_is_not_shown(void **state)
{
    struct module_test *t = *state;
    struct message *m = fixture_message(t->f, MESSAGE_PLAIN, "", "x", 1);

    traced();
    m->error = EIO;
    module_handler.submit(t->f->handler, m);
    assert_int_equal(t->f->settled[0].outcome, PROTO_FAILED);
    m = fixture_message(t->f, MESSAGE_PLAIN, "", "x", 1);
    m->error = ENOSPC;
    module_handler.submit(t->f->handler, m);
    assert_int_equal(t->f->settled[1].outcome, PROTO_REFUSED);
    assert_string_equal(t->f->settled[1].code, "no-space");
    assert_string_equal(traced(), "");
}

/* --- settling --- */

static void
what_the_callback_returns_is_what_becomes_of_a_message(void **state)
{
    static const struct {
        const char *message;
        enum proto_outcome outcome;
        const char *code, *text, *reply; /* reply NULL: none */
    } cases[] = {
        {"commit", PROTO_COMMITTED, "", "", NULL},
        {"reply hello", PROTO_COMMITTED, "", "", "hello"},
        {"reply", PROTO_COMMITTED, "", "", ""},
        {"replies the last one", PROTO_COMMITTED, "", "", "the last one"},
        {"now", PROTO_COMMITTED, "", "", "at once"},
        {"refuse", PROTO_REFUSED, "refused", "the module refused it", NULL},
        {"refuse not on sundays", PROTO_REFUSED, "refused", "not on sundays", NULL},
        {"fail", PROTO_FAILED, "", "the module could not take it", NULL},
        {"fail no database", PROTO_FAILED, "", "no database", NULL},
    };
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0);

    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        const struct settled *s = module_test_send(t, c, cases[i].message);

        assert_int_equal(t->f->settled_count, i + 1);
        assert_int_equal(s->outcome, cases[i].outcome);
        assert_string_equal(s->code, cases[i].code);
        assert_string_equal(s->text, cases[i].text);
        if (cases[i].reply != NULL)
            assert_string_equal(s->reply, cases[i].reply);
        else
            assert_null(s->reply);
    }
}

static void
nobody_gets_a_reply_who_wants_none(void **state)
{
    struct module_test *t = *state;
    struct message *m = fixture_message(t->f, MESSAGE_PLAIN, "", "reply hello", 11);

    m->wants_reply = false;
    module_handler.submit(t->f->handler, m);
    assert_int_equal(t->f->settled[0].outcome, PROTO_COMMITTED);
    assert_null(t->f->settled[0].reply);
}

static void
a_message_can_be_settled_later(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0);

    module_test_send(t, c, "later");
    assert_int_equal(t->f->settled_count, 0);
    module_test_send(t, c, "before it is done");
    assert_int_equal(t->f->settled_count, 2);
    assert_int_equal(t->f->settled[0].number, 0);
    assert_int_equal(t->f->settled[0].outcome, PROTO_COMMITTED);
    assert_string_equal(t->f->settled[0].reply, "it is done");
    assert_int_equal(t->f->settled[1].number, 1);

    module_test_send(t, c, "later");
    module_handler.tick(t->f->handler, 1000000);
    assert_int_equal(t->f->settled_count, 3);
    assert_int_equal(t->f->settled[2].outcome, PROTO_REFUSED);
    assert_string_equal(t->f->settled[2].text, "it took too long");
}

static void
what_is_not_settled_fails_when_the_worker_leaves(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0);

    for (int i = 0; i < 3; i++)
        module_test_send(t, c, "later");
    module_handler.finish(t->f->handler);
    assert_int_equal(t->f->settled_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(t->f->settled[i].number, i);
        assert_int_equal(t->f->settled[i].outcome, PROTO_FAILED);
        assert_string_equal(t->f->settled[i].text, "the server is leaving");
    }
    module_handler.tick(t->f->handler, 1000000); /* settles what is settled: not its fault */
    assert_int_equal(t->f->settled_count, 3);
    assert_int_equal(logged(t, "error"), 0);
}

static void
messages_that_nobody_waits_for_any_more_are_dropped_with_the_module(void **state)
{
    struct module_test *t = *state;

    module_test_send(t, NULL, "later");
    module_test_send(t, NULL, "later");
    module_test_stop(t);
    assert_int_equal(t->f->settled_count, 0);
}

/* --- a module that is wrong --- */

static void
a_result_that_is_none_fails_and_is_said_once(void **state)
{
    struct module_test *t = *state;

    for (unsigned i = 0; i < 4; i++) {
        const struct settled *s =
            module_test_send(t, NULL, i < 2 ? "misuse result" : "misuse settle result");

        assert_int_equal(t->f->settled_count, i + 1);
        assert_int_equal(s->outcome, PROTO_FAILED);
        assert_string_equal(s->text, "the module did not say what became of it");
    }
    assert_int_equal(logged(t, "module good: it gave a result for a message that is none"), 1);
}

static void
a_message_is_settled_once_however_often_the_module_says_so(void **state)
{
    struct module_test *t = *state;

    assert_int_equal(module_test_send(t, NULL, "misuse twice")->outcome, PROTO_COMMITTED);
    assert_int_equal(t->f->settled_count, 1);
    assert_int_equal(module_test_send(t, NULL, "misuse settle and return")->outcome, PROTO_REFUSED);
    assert_string_equal(t->f->settled[1].text, "the first one counts");
    assert_int_equal(t->f->settled_count, 2);
    assert_int_equal(logged(t, "it settled a message in its callback, and then once more"), 1);

    module_test_send(t, NULL, "commit");
    module_test_send(t, NULL, "before this");
    module_test_send(t, NULL, "before that");
    assert_int_equal(t->f->settled_count, 5);
    assert_int_equal(logged(t, "it names a message that is settled, or never was"), 1);
}

static void
a_reply_that_is_too_long_fails(void **state)
{
    struct module_test *t = *state;
    const struct settled *s = module_test_send(t, NULL, "misuse long reply");

    assert_int_equal(s->outcome, PROTO_FAILED);
    assert_string_equal(s->text, "the module's reply is over 16 MiB");
    assert_int_equal(logged(t, "its reply to a message is over 16 MiB"), 1);
}

static void
bytes_at_null_are_none(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0);

    traced();
    assert_int_equal(module_test_send(t, c, "misuse null")->outcome, PROTO_COMMITTED);
    assert_null(t->f->settled[0].reply);
    assert_non_null(strstr(traced(), "null -1 -1 -1;"));
    assert_int_equal(c->push_count, 0);
    assert_int_equal(logged(t, "it gave bytes at NULL"), 1);
}

static void
a_connection_that_is_gone_is_not_touched(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0), *gone = module_test_open(t, 1);

    module_test_close(t, gone, false);
    gone->push_count = 0;
    traced();
    module_test_send(t, c, "misuse gone");
    assert_non_null(strstr(traced(), "gone '' -1 -1 1 1 1 0;"));
    assert_int_equal(gone->push_count, 0);
    assert_false(gone->disconnected);
    assert_string_equal(c->pushed, "y\n");
    assert_int_equal(logged(t, "it names a connection that is closed, or never was"), 1);
}

/* --- connections --- */

static void
connections_can_be_walked_and_have_data_of_the_modules_own(void **state)
{
    struct module_test *t = *state;
    struct conn *a = module_test_open(t, 0), *b = module_test_open(t, 2);

    module_test_open(t, 3);
    module_test_send(t, a, "name ann");
    module_test_send(t, b, "name bob");
    assert_string_equal(module_test_send(t, a, "walk")->reply,
                        "10.0.0.0:1=Ann 10.0.0.2:1=Bob 10.0.0.3:1 ");
    module_test_close(t, a, false);
    assert_string_equal(module_test_send(t, NULL, "walk")->reply, "10.0.0.2:1=Bob 10.0.0.3:1 ");
    module_test_open(t, 0);
    assert_string_equal(module_test_send(t, NULL, "walk")->reply,
                        "10.0.0.0:1 10.0.0.2:1=Bob 10.0.0.3:1 ");
}

static void
what_is_pushed_arrives_or_says_why_not(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0);

    traced();
    module_test_send(t, c, "push one two");
    assert_string_equal(c->pushed, "one two\n");
    assert_non_null(strstr(traced(), "pushed 0;"));
    c->push_error = ENOBUFS;
    module_test_send(t, c, "push three");
    assert_non_null(strstr(traced(), "pushed -1;"));
}

static void
a_broadcast_goes_to_all_but_one_or_to_all(void **state)
{
    struct module_test *t = *state;
    struct conn *a = module_test_open(t, 0), *b = module_test_open(t, 1);

    module_test_send(t, a, "broadcast hello");
    assert_string_equal(a->pushed, "");
    assert_string_equal(b->pushed, "hello\n");
    module_test_send(t, a, "all hello all");
    assert_string_equal(a->pushed, "hello all\n");
    assert_string_equal(b->pushed, "hello\nhello all\n");
}

static void
a_connection_can_be_ended(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0);

    module_test_send(t, c, "disconnect");
    assert_true(c->disconnected);
}

/* --- moving --- */

static void
what_is_kept_is_the_last_that_fits(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0);

    traced();
    module_test_send(t, c, "keep");
    assert_non_null(strstr(traced(), "keep 0;kept nothing;"));
    module_test_send(t, c, "keep one");
    assert_non_null(strstr(traced(), "keep 0;kept one;"));
    module_test_send(t, c, "keep much");
    assert_non_null(strstr(traced(), "keep -1;kept one;"));
    module_test_send(t, c, "keep tail");
    assert_non_null(strstr(traced(), "keep 0;kept ne;"));
}

static void
a_connection_moves_with_what_was_kept(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0), *there = &t->conns[1];
    uint8_t mark[4096];
    size_t n;

    assert_true(module_handler.moves(t->f->handler));
    module_test_send(t, c, "keep this");
    traced();
    n = module_handler.conn_moving(t->f->handler, c, mark, sizeof(mark));
    c->push_count = 0;
    module_test_close(t, c, true);
    assert_string_equal(traced(), "close 10.0.0.0:1 moved (null) -1 0;");
    assert_int_equal(c->push_count, 0);

    there->is_open = true;
    module_handler.conn_opened(t->f->handler, there, true);
    assert_string_equal(traced(), "");
    module_handler.conn_adopted(t->f->handler, there, mark, n);
    assert_string_equal(traced(), "open 10.0.0.1:1 moved this;");
    assert_string_equal(there->pushed, "welcome\n");
}

/* From a listener that had another handler before, or cut short: nothing of it is believed. */
static void
a_connection_can_come_with_anything(void **state)
{
    struct module_test *t = *state;
    struct conn *c = module_test_open(t, 0), *there = &t->conns[1];
    uint8_t mark[4096];
    size_t n;

    module_test_send(t, c, "keep this");
    n = module_handler.conn_moving(t->f->handler, c, mark, sizeof(mark));
    assert_int_equal(n, 10);
    for (size_t cut = 0; cut < 12; cut++) {
        size_t len = cut < n ? cut : n;
        uint8_t *copy = ms_malloc(len + 1);

        memcpy(copy, mark, len);
        if (cut == 10)
            copy[4] = 0xff; /* the length */
        if (cut == 11)
            copy[0] ^= 1; /* who wrote it */
        traced();
        there->is_open = true;
        module_handler.conn_opened(t->f->handler, there, true);
        module_handler.conn_adopted(t->f->handler, there, copy, len);
        assert_string_equal(traced(), "open 10.0.0.1:1 moved;");
        module_test_close(t, there, false);
        free(copy);
    }
    assert_int_equal(module_handler.conn_moving(t->f->handler, c, mark, 9), 0);
}

/* --- the log --- */

static void
it_logs_lines_that_stay_lines(void **state)
{
    static const char *const lines[] = {
        "error ",  "module good: line 0\\x0A [module_says]\n",
        "warn ",   "module good: line 1\\x0A [module_says]\n",
        "notice ", "module good: line 2\\x0A [module_says]\n",
        "info ",   "module good: line 3\\x0A [module_says]\n",
        "debug ",  "module good: line 4\\x0A [module_says]\n",
        "notice ", "module good: line 77\\x0A [module_says]\n",
    };
    static const char *const messages[] = {"log 0", "log 1", "log 2", "log 3", "log 4", "log 77"};
    struct module_test *t = *state;

    log_set_level(LOG_LEVEL_DEBUG);
    for (size_t i = 0; i < MS_ARRAY_LEN(messages); i++) {
        char *data, *line;

        module_test_send(t, NULL, messages[i]);
        data = fixture_read(t->f, "log", NULL);
        line = strstr(data, lines[2 * i + 1]);
        assert_non_null(line);
        while (line > data && line[-1] != '\n')
            line--;
        assert_non_null(strstr(line, lines[2 * i]));
        free(data);
    }
    log_set_level(LOG_LEVEL_NOTICE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_callback_comes_in_its_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_is_seen_as_it_came, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_in_a_file_is_seen_in_one_piece, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_was_not_kept_is_not_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_callback_returns_is_what_becomes_of_a_message,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_gets_a_reply_who_wants_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_can_be_settled_later, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_settled_fails_when_the_worker_leaves, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            messages_that_nobody_waits_for_any_more_are_dropped_with_the_module, setup, teardown),
        cmocka_unit_test_setup_teardown(a_result_that_is_none_fails_and_is_said_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_message_is_settled_once_however_often_the_module_says_so,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_reply_that_is_too_long_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_at_null_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_that_is_gone_is_not_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(connections_can_be_walked_and_have_data_of_the_modules_own,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_pushed_arrives_or_says_why_not, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broadcast_goes_to_all_but_one_or_to_all, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_can_be_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_kept_is_the_last_that_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_moves_with_what_was_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_can_come_with_anything, setup, teardown),
        cmocka_unit_test_setup_teardown(it_logs_lines_that_stay_lines, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* examples/chat.c, run. */
#include "module_fixture.h"

static int
setup(void **state)
{
    struct module_test *t = module_test_create();
    char error[HANDLER_ERROR_LEN];

    *state = t;
    return module_test_start(t, "examples/chat", error) ? 0 : -1;
}

static int
teardown(void **state)
{
    module_test_destroy(*state);
    return 0;
}

/* What c has heard since it was asked last. */
static const char *
heard(struct conn *c)
{
    static char text[sizeof(c->pushed)];

    memcpy(text, c->pushed, sizeof(text));
    c->pushed[0] = '\0';
    return text;
}

static void
everybody_else_hears_who_comes_and_goes(void **state)
{
    struct module_test *t = *state;
    struct conn *ann = module_test_open(t, 0), *bob = module_test_open(t, 1);

    assert_string_equal(heard(ann), "10.0.0.1:1 joined\n");
    assert_string_equal(heard(bob), "");
    module_test_close(t, ann, false);
    assert_string_equal(heard(bob), "10.0.0.0:1 left\n");
    assert_string_equal(heard(ann), "");
}

static void
a_line_goes_to_everybody_else_behind_its_name(void **state)
{
    struct module_test *t = *state;
    struct conn *ann = module_test_open(t, 0), *bob = module_test_open(t, 1);
    struct conn *eve = module_test_open(t, 2);

    heard(ann), heard(bob), heard(eve);
    assert_int_equal(module_test_send(t, ann, "hello, you\r\n")->outcome, PROTO_COMMITTED);
    assert_string_equal(heard(bob), "10.0.0.0:1: hello, you\n");
    assert_string_equal(heard(eve), "10.0.0.0:1: hello, you\n");
    assert_string_equal(heard(ann), "");
}

static void
a_new_name_is_announced_and_used(void **state)
{
    struct module_test *t = *state;
    struct conn *ann = module_test_open(t, 0), *bob = module_test_open(t, 1);

    heard(ann);
    assert_int_equal(module_test_send(t, ann, "/nick ann")->outcome, PROTO_COMMITTED);
    assert_string_equal(heard(bob), "10.0.0.0:1 is now ann\n");
    module_test_send(t, ann, "hello");
    assert_string_equal(heard(bob), "ann: hello\n");
    module_test_send(t, ann, "/nick ann-marie");
    assert_string_equal(heard(bob), "ann is now ann-marie\n");
    module_test_close(t, ann, false);
    assert_string_equal(heard(bob), "ann-marie left\n");
}

static void
what_cannot_be_said_is_heard_by_nobody_and_its_sender_told(void **state)
{
    static char long_line[4200], long_name[200];
    const struct {
        const char *line, *text;
    } cases[] = {
        {"/nick two words", "a name has 1 to 63 bytes and no spaces"},
        {long_name, "a name has 1 to 63 bytes and no spaces"},
        {long_line, "a line is too long"},
    };
    struct module_test *t = *state;
    struct conn *ann = module_test_open(t, 0), *bob = module_test_open(t, 1);

    memset(long_line, 'x', sizeof(long_line) - 1);
    memset(long_name, 'x', sizeof(long_name) - 1);
    memcpy(long_name, "/nick ", 6);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        const struct settled *s;

        heard(ann);
        ann->push_error = 0;
        s = module_test_send(t, ann, cases[i].line);
        assert_int_equal(s->outcome, PROTO_COMMITTED);
        assert_memory_equal(heard(ann), cases[i].text, strlen(cases[i].text));
        ann->push_error = ENOTSUP;
        s = module_test_send(t, ann, cases[i].line);
        assert_int_equal(s->outcome, PROTO_REFUSED);
        assert_string_equal(s->text, cases[i].text);
        assert_string_equal(heard(bob), "");
    }
    long_line[4096] = '\0';
    assert_int_equal(module_test_send(t, ann, long_line)->outcome, PROTO_COMMITTED);
    assert_int_equal(bob->push_count, 1);
}

static void
control_bytes_reach_no_terminal(void **state)
{
    struct module_test *t = *state;
    struct conn *ann = module_test_open(t, 0), *bob = module_test_open(t, 1);

    module_test_send(t, ann, "a\033[2Jb\ac\x7f\xc3\xa9");
    assert_string_equal(heard(bob), "10.0.0.0:1: a [2Jb c \xc3\xa9\n");
}

static void
nothing_said_is_nothing_heard(void **state)
{
    static const char *const lines[] = {"", "\n", "  \r\n"};
    struct module_test *t = *state;
    struct conn *ann = module_test_open(t, 0), *bob = module_test_open(t, 1);

    for (size_t i = 0; i < MS_ARRAY_LEN(lines); i++)
        assert_int_equal(module_test_send(t, ann, lines[i])->outcome, PROTO_COMMITTED);
    assert_int_equal(module_test_send(t, NULL, "from one who is gone")->outcome, PROTO_COMMITTED);
    assert_string_equal(heard(bob), "");
}

static void
a_move_is_not_noticed(void **state)
{
    struct module_test *t = *state;
    struct conn *ann = module_test_open(t, 0), *bob = module_test_open(t, 1);
    uint8_t mark[4096];
    size_t n;

    assert_true(module_handler.moves(t->f->handler));
    module_test_send(t, ann, "/nick ann");
    heard(bob);
    n = module_handler.conn_moving(t->f->handler, ann, mark, sizeof(mark));
    module_test_close(t, ann, true);
    t->conns[2].is_open = true;
    module_handler.conn_opened(t->f->handler, &t->conns[2], true);
    module_handler.conn_adopted(t->f->handler, &t->conns[2], mark, n);
    assert_string_equal(heard(bob), "");
    module_test_send(t, &t->conns[2], "still here");
    assert_string_equal(heard(bob), "ann: still here\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everybody_else_hears_who_comes_and_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_goes_to_everybody_else_behind_its_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_new_name_is_announced_and_used, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_said_is_heard_by_nobody_and_its_sender_told,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(control_bytes_reach_no_terminal, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_said_is_nothing_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(a_move_is_not_noticed, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "journal_fixture.h"

void
journal_start(struct fixture *f)
{
    fixture_open_journal(f, faulty_ops());
    faults = (struct faults){0};
}

int
journal_setup(void **state)
{
    *state = fixture_create();
    journal_start(*state);
    return 0;
}

int
journal_teardown(void **state)
{
    struct fixture *f = *state;

    if (f->handler != NULL)
        journal->destroy(f->handler);
    fixture_destroy(f);
    return 0;
}

void
submit(struct fixture *f, enum message_kind kind, const char *value, const char *body)
{
    journal->submit(f->handler, fixture_message(f, kind, value, body, strlen(body)));
}

void
submit_from(struct fixture *f, unsigned sender, enum message_kind kind, const char *value,
            const char *body)
{
    struct message *m = fixture_message(f, kind, value, body, strlen(body));

    m->owner = (void *)(uintptr_t)sender;
    journal->submit(f->handler, m);
}

void
complete_all(struct fixture *f, unsigned expected)
{
    while (f->settled_count < expected) {
        struct pollfd event = {.fd = journal->event_fd(f->handler), .events = POLLIN};
        uint64_t again_us = journal->flush(f->handler, 1), now_us = clock_mono_us();
        int wait_ms = again_us > now_us ? (int)((again_us - now_us) / 1000) + 1 : 0;
        int ready = poll(&event, 1, again_us != 0 ? wait_ms : 20000);

        assert_true(ready == 1 || (ready == 0 && again_us != 0));
        if (ready == 1)
            journal->complete(f->handler);
    }
    assert_int_equal(f->settled_count, expected);
}

void
commit_here(struct fixture *f)
{
    journal->flush(f->handler, 0);
    journal->finish(f->handler);
}

void
assert_in_order(struct fixture *f, unsigned count)
{
    assert_int_equal(f->settled_count, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(f->settled[i].number, i);
}

void
assert_line_count(struct fixture *f, size_t count)
{
    json_t *lines = fixture_journal(f);

    assert_int_equal(json_array_size(lines), count);
    json_decref(lines);
}

void
commit(struct fixture *f, bool in_thread, unsigned expected)
{
    if (in_thread) {
        journal->flush(f->handler, 1);
        complete_all(f, expected);
    } else {
        commit_here(f);
    }
    assert_in_order(f, expected);
}

void
keep_said(void *arg, const struct log_record *record)
{
    buffer_append(arg, record->text, record->n);
}

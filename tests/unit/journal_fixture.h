/* A journal whose system calls can fail (faults), with a host that notes what was settled. */
#ifndef TESTS_UNIT_JOURNAL_FIXTURE_H
#define TESTS_UNIT_JOURNAL_FIXTURE_H

#include "handler_fixture.h"

#include "common/log.h"
#include "handler/journal/journal.h"

static const struct handler_ops *const journal = &journal_handler;

/* Makes the handler, and no call fails. */
void journal_start(struct fixture *f);

int journal_setup(void **state);
int journal_teardown(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, journal_setup, journal_teardown)

/* Each from a sender of its own, or several from one. */
void submit(struct fixture *f, enum message_kind kind, const char *value, const char *body);
void submit_from(struct fixture *f, unsigned sender, enum message_kind kind, const char *value,
                 const char *body);

/* As the worker's loop does it: flushes, waits for the commit thread or until a batch that is held
 * back may be flushed, and settles, until all is settled. */
void complete_all(struct fixture *f, unsigned expected);

/* In the worker's thread; on a slow disk the commit thread does it after all. */
void commit_here(struct fixture *f);

/* Either, and what was settled is in order. */
void commit(struct fixture *f, bool in_thread, unsigned expected);

/* Settled once each, in the order in which they came. */
void assert_in_order(struct fixture *f, unsigned count);

void assert_line_count(struct fixture *f, size_t count);

/* For a log_sink: what the log says, line after line, into a buffer. */
void keep_said(void *arg, const struct log_record *record);

#endif

/* What the tests of the exec handler share: a command that runs behind the fixture's host, the loop
 * that waits for its events, and, at the end of every test, the look for processes that were
 * left. */
#ifndef TESTS_UNIT_EXEC_FIXTURE_H
#define TESTS_UNIT_EXEC_FIXTURE_H

#include "handler_fixture.h"

#include "support/wait.h"

#include "common/base.h"
#include "handler/handler.h"

#include <signal.h>
#include <sys/wait.h>

#define EXEC_FIXTURE_WAIT_MS 30000 /* for what must come */

/* The handler's; each setup makes it anew, and a test may change it before exec_start. */
extern struct listener_config exec_listener;

/* A fixture with exec=pool of one child. */
int exec_setup_pool(void **state);

/* A fixture with exec=once. */
int exec_setup_once(void **state);

/* Creates the handler with that command. */
void exec_start(struct fixture *f, const char *command);

/* Destroys the handler, which must leave no child. */
void exec_stop(struct fixture *f);

/* Stops the handler where it still runs, and removes the fixture. */
int exec_teardown(void **state);

/* Submits a message with that body. */
void exec_give(struct fixture *f, const void *body, size_t n);

/* Waits for an event and serves it. */
void exec_turn(struct fixture *f);

/* How many children it has. */
unsigned exec_children(const struct fixture *f);

/* Serves events until it has none. */
void exec_reap_all(struct fixture *f);

/* Serves events until no process has that number. */
void exec_turn_until_gone(struct fixture *f, pid_t pid);

/* Serves events until so many messages are settled, and not one more. */
void exec_settle_all(struct fixture *f, unsigned count);

/* The one message of that body, and what became of it. */
const struct settled *exec_one(struct fixture *f, const void *body, size_t n);

/* Settled with that outcome and text, and the code that belongs to it. */
void assert_verdict(const struct settled *s, enum proto_outcome outcome, const char *text);

/* A number that the command wrote into a file of the data directory, once it is there. */
long exec_number(struct fixture *f, const char *name);

/* True where a process of that group runs. One that has ended and waits to be reaped does not; and
 * orphans wait for init, which may take its time. */
bool exec_group_runs(pid_t group);

/* Waits for the end of the group; false where it goes on. */
bool exec_group_is_gone(pid_t group);

#endif

/* What the tests of modules share: a host with connections that write down what is pushed to them,
 * and the handler over a module of tests/modules or examples. */
#ifndef TESTS_UNIT_MODULE_FIXTURE_H
#define TESTS_UNIT_MODULE_FIXTURE_H

#include "handler_fixture.h"

#include "handler/handler.h"

#define MODULE_CONNS 4

/* The worker's, as these tests have it. */
struct conn {
    bool is_open;
    bool disconnected;
    int push_error; /* what pushing to it fails with; 0: nothing */
    unsigned push_count;
    char address[32];
    char pushed[1024]; /* each followed by a newline */
};

struct module_test {
    struct fixture *f;
    struct listener_config listener;
    char path[512];
    struct conn conns[MODULE_CONNS];
    bool is_up;
};

/* Sets t->path to the module that is called so below the build directory, without ".so". */
void module_path(struct module_test *t, const char *name);

/* A host with connections that are not open yet, and no module. */
struct module_test *module_test_create(void);

/* The args of the module that is started next. */
void module_test_set_args(struct module_test *t, const char *args);

/* Starts that module, named as for module_path. */
bool module_test_start(struct module_test *t, const char *name, char error[HANDLER_ERROR_LEN]);

/* Closes a connection, or lets it move to another worker. */
void module_test_close(struct module_test *t, struct conn *c, bool moved);

/* As a worker ends: its connections are closed, then the handler goes. */
void module_test_stop(struct module_test *t);

/* Stops the module and frees all. */
void module_test_destroy(struct module_test *t);

/* Opens connection i. */
struct conn *module_test_open(struct module_test *t, unsigned i);

/* A message of that connection, or of one that is gone (NULL). Returns what was settled last. */
const struct settled *module_test_send(struct module_test *t, struct conn *from, const char *text);

#endif

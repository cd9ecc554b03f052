/* A service manager of our own: the socket on which msockd says how it goes, sockets that it is
 * given, and the store of those that the manager keeps for it (sd_notify(3), sd_listen_fds(3)). One
 * of a test at a time. */
#ifndef SYSTEM_MANAGER_H
#define SYSTEM_MANAGER_H

#include <stdbool.h>

#include "target.h"

#define MANAGER_TEXT_LEN 2048

/* Opens the socket and puts its name into the environment. */
void manager_open(bool abstract);

/* Closes all and takes its variables out of the environment. */
void manager_close(void);

/* The next datagram but those about the store, which begins so. */
void manager_expect(const char *begin, char text_out[MANAGER_TEXT_LEN]);

/* Gives the socket under that name to every msockd that is started from now on. It is the manager's
 * from here on; the other one makes it. */
void manager_give(const char *name, int fd);
void manager_listen(const char *name, const char *url, struct target *target_out);

/* For daemon_options.child, and before each start with it: what is given and stored; the second
 * with another process's id. */
void manager_child(void);
void manager_child_of_another(void);
void manager_arm(void);

/* How many are stored, and whether one is for that target. */
unsigned manager_stored(void);
bool manager_stores(const struct target *target);

#endif

/* Peers that mean harm, for tests that show that the others do not notice: a thread for each kind,
 * from an address of its own, 127.0.0.2 and up. They take nothing for granted and assert nothing,
 * since whatever is done to them is right. */
#ifndef SYSTEM_ATTACKS_H
#define SYSTEM_ATTACKS_H

#include "daemon.h"

/* Beneath it are the files that they send. */
#define ATTACK_DIR "hostile"

/* Starts all, against msp and auto listeners of that daemon. Teardown stops them. */
void attacks_start(const struct target *msp, const struct target *automatic);

/* Lets each finish its round, and waits for them. */
void attacks_stop(void);

/* Rounds since they were first started, of the kind that had the fewest; and its name. */
uint64_t attacks_rounds(const char **name_out);

#endif

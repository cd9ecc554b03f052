/* What nsc(1) makes: an operator, an account with JetStream, the account of the system, and users.
 * The keys are the same each time. */
#ifndef SYSTEM_NATS_JWT_H
#define SYSTEM_NATS_JWT_H

#include "harness.h"

#define NATS_JWT_CONFIG 6500

/* The lines of a server's configuration that trust the operator and know its accounts. */
void nats_jwt_config(char out[NATS_JWT_CONFIG]);

/* Writes the file with a user's JWT and seed, who is of that account, or of one that no operator
 * knows. */
void nats_jwt_creds(const char *path, bool is_known);

#endif

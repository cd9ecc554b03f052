/* Listeners with TLS and their peers: what the tests of TLS from outside have in common. */
#ifndef SYSTEM_TLS_CASE_H
#define SYSTEM_TLS_CASE_H

#include "daemon.h"
#include "harness.h"
#include "tls_peer.h"

/* Authorities ("ca", "otherca"), servers and clients, once for all tests of a program: a directory
 * of its own, since those of the harness end with each test. */
extern char tls_dir[];
extern const struct tls_who tls_anybody; /* who has no certificate, and trusts "ca" */

/* Around all tests. */
int tls_case_begin(void **state);
int tls_case_end(void **state);

#define TLS_CASE_URL_LEN (3 * HARNESS_PATH_LEN)

/* scheme://127.0.0.1:0 with the certificate of that name, and further options: "" or "&...". Four
 * at a time. */
const char *tls_case_url(const char *scheme, const char *cert, const char *more);

/* One listener of frame, with replies. */
struct daemon *tls_case_daemon(unsigned workers, const char *more);

/* Everybody has left. That nothing of them is in memory is asserted by the ledger at the end. */
void tls_case_expect_empty(const struct daemon *d);

void tls_case_expect_served(const struct daemon *d, const struct tls_who *who);

#endif

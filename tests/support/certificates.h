/* Certificates for tests, right and wrong ones, made by libcrypto. */
#ifndef TESTS_SUPPORT_CERTIFICATES_H
#define TESTS_SUPPORT_CERTIFICATES_H

#include <stddef.h>

struct certificate {
    const char *common_name; /* NULL: none */
    size_t common_name_len;  /* 0: up to NUL */
    const char *alternative; /* "DNS:localhost,IP:127.0.0.1", "URI:..."; NULL: none */
    int from_days, days;     /* valid from so many days on, for so many; 0, 0: for 30 */
    const char *curve;       /* of the key; NULL: P-256 */
};

/* Makes DIR/NAME.pem and DIR/NAME.key (mode 600), signed by the authority DIR/SIGNER.pem; signer
 * NULL: it is an authority itself. Fails the test where it cannot. */
void certificate_make(const char *dir, const char *name, const char *signer,
                      const struct certificate *what);

#endif

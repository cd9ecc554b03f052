#include "tls_case.h"

#include "stats.h"
#include "support/certificates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAKE(name, signer, ...) \
    certificate_make(tls_dir, (name), (signer), &(struct certificate){__VA_ARGS__})

char tls_dir[] = "/tmp/msockd-tls.XXXXXX";
const struct tls_who tls_anybody = {.dir = tls_dir, .ca = "ca"};

static char long_name[64 << 10];

const char *
tls_case_url(const char *scheme, const char *cert, const char *more)
{
    static char urls[4][TLS_CASE_URL_LEN];
    static unsigned next;
    char *url = urls[next++ % 4];

    snprintf(url, TLS_CASE_URL_LEN,
             "%s://127.0.0.1:0?tls=required&tls_cert=%s/%s.pem&tls_key=%s/%s.key%s", scheme,
             tls_dir, cert, tls_dir, cert, more);
    return url;
}

struct daemon *
tls_case_daemon(unsigned workers, const char *more)
{
    char options[HARNESS_PATH_LEN];

    snprintf(options, sizeof(options), "&reply=yes%s", more);
    return daemon_start(&(struct daemon_options){
        .workers = workers, .listen = {tls_case_url("frame", "server", options)}});
}

void
tls_case_expect_empty(const struct daemon *d)
{
    WAIT_FOR(stats_total(d, "open") == 0, 20000);
}

void
tls_case_expect_served(const struct daemon *d, const struct tls_who *who)
{
    struct tls_peer t;

    tls_peer_connect(&t, &d->listeners[0], who);
    assert_true(tls_peer_say(&t, "hello"));
    tls_peer_end(&t);
}

int
tls_case_begin(void **state)
{
    char path[HARNESS_PATH_LEN];

    if (harness_begin(state) < 0 || mkdtemp(tls_dir) == NULL)
        return -1;
    memset(long_name, 'x', sizeof(long_name));
    MAKE("ca", NULL, .common_name = "tests");
    MAKE("otherca", NULL, .common_name = "others");
    MAKE("server", "ca", .common_name = "server", .alternative = "DNS:localhost,IP:127.0.0.1");
    MAKE("other", "ca", .common_name = "other", .alternative = "DNS:localhost,IP:127.0.0.1");
    MAKE("brainpool", "ca", .common_name = "server", .curve = "brainpoolP256r1");
    MAKE("client", "ca", .common_name = "client");
    MAKE("strange", "otherca", .common_name = "strange");
    MAKE("expired", "ca", .common_name = "old", .from_days = -20, .days = 10);
    MAKE("early", "ca", .common_name = "new", .from_days = 20, .days = 10);
    MAKE("soon", "ca", .common_name = "soon", .days = 13);
    MAKE("long", "ca", .common_name = long_name, .common_name_len = sizeof(long_name),
         .alternative = "DNS:short");
    MAKE("longish", "ca", .common_name = long_name, .common_name_len = 2000);
    MAKE("nul", "ca", .common_name = "clie\0nt", .common_name_len = 7);
    MAKE("nameless", "ca", .common_name = NULL);
    MAKE("control", "ca", .common_name = "\x1b[2Jclient\r\n");
    harness_join(path, tls_dir, "junk.pem");
    harness_write_file(path, "junk\n", 5);
    harness_join(path, tls_dir, "junk.key");
    harness_write_file(path, "junk\n", 5);
    return chmod(path, 0600);
}

int
tls_case_end(void **state)
{
    harness_remove_tree(tls_dir);
    return harness_end(state);
}

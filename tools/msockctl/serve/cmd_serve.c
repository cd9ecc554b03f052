/* msockctl serve: where it listens, who may ask, and the loop. */
#include "serve.h"

#include "common/fd.h"
#include "common/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define TICK_US         1000000
#define PEM_MAX         ((size_t)1 << 20)
#define CONNECTIONS_MAX 256
#define SILENCE_S       30 /* then a connection is closed */
#define TLS_VERSIONS    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define REQUEST_MAX     ((size_t)32768)

int serve_run(struct ctl *ctl, int argc, char *argv[]);

struct wishes {
    const char *listen, *password_file, *cert, *key;
};

static volatile sig_atomic_t told_to_end;

static void
end_told(int signo)
{
    (void)signo;
    told_to_end = 1;
}

/* --- the address --- */

static bool
address_is_local(const struct endpoint *ep)
{
    const struct sockaddr *addr = (const void *)&ep->addr;

    if (addr->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr) >> 24 ==
               127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr);
}

/* Returns EX_OK, or a status after an error message. */
static int
address_open(const struct ctl *ctl, const struct url *url, const struct wishes *w,
             struct listen_socket *out)
{
    const struct listen_how how = {.backlog = 128, .gid = (gid_t)-1};
    const bool guarded = w->password_file != NULL && w->cert != NULL;
    char error[URL_ERROR_LEN];
    struct endpoint ep;
    size_t failed;

    if (endpoint_resolve(url, &ep, error) < 0)
        return ctl_usage(ctl, "--listen %s: %s", w->listen, error);
    if (!guarded && !address_is_local(&ep))
        return ctl_usage(ctl,
                         "--listen %s: others than this machine can come there: that needs "
                         "--password-file, --tls-cert and --tls-key",
                         w->listen);
    *out = (struct listen_socket){.fd = -1};
    if (listen_open(&ep, 1, &how, out, &failed) < 0) {
        ctl_error(ctl, "cannot listen on %s: %s", w->listen, strerror(errno));
        return EX_UNAVAILABLE;
    }
    return EX_OK;
}

static int
address_parse(const struct ctl *ctl, const struct wishes *w, struct url *url_out)
{
    char text[512], error[URL_ERROR_LEN];

    snprintf(text, sizeof(text), "http://%s", w->listen);
    if (url_parse(text, url_out, error) < 0)
        return ctl_usage(ctl, "--listen %s: %s", w->listen, error);
    if (url_out->host != NULL && url_out->has_port && url_out->option_count == 0)
        return EX_OK;
    url_fini(url_out);
    return ctl_usage(ctl, "--listen %s: expected ADDRESS:PORT", w->listen);
}

/* --- libmicrohttpd --- */

static void MS_PRINTF(2, 0) daemon_says(void *cls, const char *fmt, va_list ap)
{
    struct serve *s = cls;

    vsnprintf(s->trouble, sizeof(s->trouble), fmt, ap);
    s->trouble[strcspn(s->trouble, "\n")] = '\0';
}

/* Texts of PEM files; NULL where TLS is not wanted. */
struct pem {
    char *cert, *key;
};

static int
pem_read(const struct ctl *ctl, const struct wishes *w, struct pem *out)
{
    const char *path = w->cert;
    size_t len;

    if ((w->cert == NULL) != (w->key == NULL))
        return ctl_usage(ctl, "--tls-cert and --tls-key belong together");
    if (w->cert == NULL)
        return EX_OK;
    if (fd_read_file(w->cert, PEM_MAX, &out->cert, &len) == 0) {
        path = w->key;
        if (fd_read_file(w->key, PEM_MAX, &out->key, &len) == 0)
            return EX_OK;
    }
    ctl_error(ctl, "cannot read %s: %s", path, strerror(errno));
    return EX_NOINPUT;
}

static int
daemon_start(const struct ctl *ctl, struct serve *s, int fd, const struct pem *pem)
{
    const unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                           (pem->cert != NULL ? MHD_USE_TLS : 0);
    const struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, pem->cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, pem->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_VERSIONS},
        {MHD_OPTION_END, 0, NULL},
    };

    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, http_answer, s, MHD_OPTION_EXTERNAL_LOGGER, daemon_says, s,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX / 4,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        REQUEST_MAX, MHD_OPTION_ARRAY, pem->cert != NULL ? tls : &tls[3], MHD_OPTION_END);
    if (s->daemon != NULL)
        return EX_OK;
    ctl_error(ctl, "cannot begin%s: %s", pem->cert != NULL ? ", with this certificate and key" : "",
              s->trouble);
    return pem->cert != NULL ? EX_DATAERR : EX_OSERR;
}

static void
daemon_loop(struct serve *s)
{
    uint64_t next_us = clock_mono_us() + TICK_US;

    while (!told_to_end) {
        uint64_t now_us = clock_mono_us();

        if (now_us >= next_us) {
            listeners_tick(s);
            next_us = now_us + TICK_US;
        }
        if (MHD_run_wait(s->daemon, (int32_t)((next_us - now_us) / 1000 + 1)) != MHD_YES)
            break;
    }
    listeners_wake(s->listeners);
    MHD_stop_daemon(s->daemon);
}

/* --- the command --- */

static int
serve_begin(struct ctl *ctl, struct serve *s, const struct wishes *w, const struct url *url)
{
    struct listen_socket socket = {.fd = -1};
    struct pem pem = {NULL, NULL};
    int status = pem_read(ctl, w, &pem);

    s->host = url->host;
    if (status == EX_OK && w->password_file != NULL) {
        s->passwords = passwords_open(ctl, w->password_file);
        status = s->passwords != NULL ? EX_OK : EX_NOINPUT;
    }
    if (status == EX_OK)
        status = address_open(ctl, url, w, &socket);
    if (status == EX_OK)
        status = daemon_start(ctl, s, socket.fd, &pem);
    if (status == EX_OK) {
        ctl_print("serving http%s://%s%s%s:%u/", pem.cert != NULL ? "s" : "",
                  strchr(url->host, ':') != NULL ? "[" : "", url->host,
                  strchr(url->host, ':') != NULL ? "]" : "", endpoint_port(&socket.bound));
        status = ctl_finish(ctl, EX_OK);
    }
    if (status == EX_OK)
        daemon_loop(s); /* it has closed the socket */
    else
        listen_close(&socket);
    free(pem.cert);
    free(pem.key);
    return status;
}

int
serve_run(struct ctl *ctl, int argc, char *argv[])
{
    struct wishes w = {.listen = "127.0.0.1:9180"};
    const struct ctl_option options[] = {{"listen", NULL, &w.listen},
                                         {"password-file", NULL, &w.password_file},
                                         {"tls-cert", NULL, &w.cert},
                                         {"tls-key", NULL, &w.key}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    const struct sigaction end = {.sa_handler = end_told};
    struct serve s = {.ctl = *ctl};
    struct url url;

    if (status != CTL_GO_ON)
        return status;
    status = address_parse(ctl, &w, &url);
    if (status != EX_OK)
        return status;
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    buffer_init(&s.error);
    s.ctl.errors = &s.error;
    s.listeners = listeners_create();
    status = serve_begin(ctl, &s, &w, &url);
    listeners_destroy(s.listeners);
    passwords_close(s.passwords);
    buffer_fini(&s.error);
    url_fini(&url);
    return status;
}

/* The network: a worker serves what it has inherited, and begins nothing of its own. */
#include "evil.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_in
loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* "@name" is an abstract one. */
static socklen_t
unix_address(const char *path, struct sockaddr_un *out)
{
    size_t n = strlen(path);

    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(out->sun_path, sizeof(out->sun_path), "%s", path);
    if (path[0] == '@')
        out->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

/* --- new ports --- */

static long
bind_inet(const struct evil *e, const struct attempt *a)
{
    struct sockaddr_in any = loopback(0);
    int fd = socket(AF_INET, a->flags | SOCK_CLOEXEC, 0);
    long rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&any, sizeof(any));

    (void)e;
    (void)evil_close(fd);
    return rc;
}

/* The kernel gives it a port. */
static long
listen_unbound(const struct evil *e, const struct attempt *a)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    long rc = fd < 0 ? -1 : listen(fd, 1);

    (void)e;
    (void)a;
    (void)evil_close(fd);
    return rc;
}

static long
bind_unix(const struct evil *e, const struct attempt *a)
{
    struct sockaddr_un address;
    socklen_t len = unix_address(evil_path(e, a->path), &address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    long rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, len);

    (void)evil_close(fd);
    return rc;
}

/* --- connections out --- */

static long
connect_inet(const struct evil *e, const struct attempt *a)
{
    struct sockaddr_in to = loopback(e->port);
    int fd = socket(AF_INET, a->flags | SOCK_CLOEXEC, a->path != NULL ? IPPROTO_MPTCP : 0);
    long rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof(to));

    (void)evil_close(fd);
    return rc;
}

static long
send_inet(const struct evil *e, const struct attempt *a)
{
    struct sockaddr_in to = loopback(e->port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    long rc = fd < 0 ? -1 : sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to));

    (void)a;
    (void)evil_close(fd);
    return rc;
}

static long
send_fast(const struct evil *e, const struct attempt *a)
{
    struct sockaddr_in to = loopback(e->port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    long rc = fd < 0 ? -1 : sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof(to));

    (void)a;
    (void)evil_close(fd);
    return rc;
}

static long
connect_unix(const struct evil *e, const struct attempt *a)
{
    struct sockaddr_un address;
    socklen_t len = unix_address(evil_path(e, a->path), &address);
    int fd = socket(AF_UNIX, a->flags | SOCK_CLOEXEC, 0);
    long rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, len);

    (void)evil_close(fd);
    return rc;
}

/* No new socket: a pair of datagrams can send to any address. */
static long
send_from_pair(const struct evil *e, const struct attempt *a)
{
    struct sockaddr_un address;
    socklen_t len = unix_address(evil_path(e, a->path), &address);
    int ends[2] = {-1, -1};
    long rc = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends);

    if (rc == 0)
        rc = sendto(ends[0], "x", 1, 0, (struct sockaddr *)&address, len);
    (void)evil_close(ends[0]);
    (void)evil_close(ends[1]);
    return rc;
}

/* --- sockets that are there --- */

static bool
is_connection(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state != TCP_LISTEN;
}

/* The last connection becomes one to somebody else: it needs no new socket. */
static long
reuse_connection(const struct evil *e, const struct attempt *a)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct sockaddr_in to = loopback(e->port);
    int fd = EVIL_FD_MAX;

    (void)a;
    while (--fd >= 0 && !is_connection(fd))
        ;
    (void)connect(fd, &none, sizeof(none));
    return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

/* A filter that lets nothing in, on a socket that all workers have. */
static long
filter_try(const struct evil *e, int fd)
{
    struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {1, nothing};

    (void)e;
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static long
filter_listener(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_listener, filter_try);
}

/* accept of the others would wait. */
static long
block_try(const struct evil *e, int fd)
{
    int flags = fcntl(fd, F_GETFL);

    (void)e;
    if (fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return -1;
    (void)fcntl(fd, F_SETFL, flags);
    return 0;
}

static long
block_listener(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_listener, block_try);
}

static long
block_by_ioctl_try(const struct evil *e, int fd)
{
    int no = 0, yes = 1;

    (void)e;
    if (ioctl(fd, FIONBIO, &no) < 0)
        return -1;
    (void)ioctl(fd, FIONBIO, &yes);
    return 0;
}

static long
block_by_ioctl(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_listener, block_by_ioctl_try);
}

static long
backlog_try(const struct evil *e, int fd)
{
    (void)e;
    return listen(fd, 0);
}

static long
shorten_backlog(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_listener, backlog_try);
}

/* Nobody can connect any more. */
static long
shut_try(const struct evil *e, int fd)
{
    (void)e;
    return shutdown(fd, SHUT_RD);
}

static long
shut_listener(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_listener, shut_try);
}

/* Its priority is the mark of one that nobody should use any more. */
static long
retire_try(const struct evil *e, int fd)
{
    (void)e;
    return setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &(int){1}, sizeof(int));
}

static long
retire_listener(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_listener, retire_try);
}

static long
starve_try(const struct evil *e, int fd)
{
    (void)e;
    return setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &(int){INT_MAX}, sizeof(int));
}

static long
starve_listener(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_listener, starve_try);
}

static long
copy_try(const struct evil *e, int fd)
{
    (void)e;
    return evil_close(dup(fd));
}

static long
copy_listener(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return evil_each(e, evil_is_listener, copy_try);
}

const struct attempt evil_network[] = {
    {.name = "listen-tcp", .run = bind_inet, .flags = SOCK_STREAM},
    {.name = "listen-unbound", .run = listen_unbound},
    {.name = "listen-udp", .run = bind_inet, .flags = SOCK_DGRAM},
    {.name = "listen-unix", .run = bind_unix, .path = "%d/files/socket"},
    {.name = "listen-unix-outside", .run = bind_unix, .path = "%o/own-socket"},
    {.name = "listen-abstract", .run = bind_unix, .path = "@msockd-evil-own"},
    {.name = "connect-tcp", .run = connect_inet, .flags = SOCK_STREAM},
    {.name = "connect-mptcp", .run = connect_inet, .path = "mptcp", .flags = SOCK_STREAM},
    {.name = "connect-fast", .run = send_fast},
    {.name = "connect-udp", .run = connect_inet, .flags = SOCK_DGRAM},
    {.name = "send-udp", .run = send_inet},
    {.name = "connect-unix", .run = connect_unix, .path = "%o/listening", .flags = SOCK_STREAM},
    {.name = "connect-abstract",
     .run = connect_unix,
     .path = "@msockd-evil-%m",
     .flags = SOCK_STREAM},
    {.name = "send-from-pair", .run = send_from_pair, .path = "@msockd-evil-datagrams-%m"},
    {.name = "raw-socket", .run = evil_call, .call = {SYS_socket, AF_INET, SOCK_RAW, IPPROTO_TCP}},
    {.name = "packet-socket", .run = evil_call, .call = {SYS_socket, AF_PACKET, SOCK_DGRAM, 0}},
    {.name = "netlink-socket",
     .run = evil_call,
     .call = {SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE}},
    {.name = "vsock", .run = evil_call, .call = {SYS_socket, AF_VSOCK, SOCK_STREAM, 0}},
    {.name = "crypto-socket", .run = evil_call, .call = {SYS_socket, AF_ALG, SOCK_SEQPACKET, 0}},
    {.name = "reuse-connection", .run = reuse_connection},
    {.name = "filter-listener", .run = filter_listener},
    {.name = "block-listener", .run = block_listener},
    {.name = "block-listener-by-ioctl", .run = block_by_ioctl},
    {.name = "shorten-backlog", .run = shorten_backlog},
    {.name = "shut-listener", .run = shut_listener},
    {.name = "retire-listener", .run = retire_listener},
    {.name = "starve-listener", .run = starve_listener},
    {.name = "copy-listener", .run = copy_listener},
    {.name = NULL},
};

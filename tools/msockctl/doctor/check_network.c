/* What the kernel does with connections before a worker sees them. */
#include "doctor.h"

#include <inttypes.h>

#define IPV4 "/proc/sys/net/ipv4/"

/* A setting that must be at least the largest backlog. */
static enum doctor_verdict
backlog_judge(const struct doctor *d, struct doctor_finding *f, const char *path, const char *key)
{
    uint64_t limit, want = doctor_backlog(d);

    if (!doctor_number(d, path, &limit))
        return doctor_unread(f, path);
    if (want == 0)
        return doctor_unknown(f, "the backlog is not known: %s", d->config_error);
    if (limit >= want)
        return doctor_fine(f, "%s = %" PRIu64, key, limit);
    doctor_mend(f, "sysctl -w %s=%" PRIu64 "; for ever: a file in /etc/sysctl.d", key, want);
    return doctor_wrong(f, "%s is %" PRIu64 ", less than the backlog of a listener, %" PRIu64, key,
                        limit, want);
}

static enum doctor_verdict
look_somaxconn(const struct doctor *d, struct doctor_finding *f)
{
    return backlog_judge(d, f, "/proc/sys/net/core/somaxconn", "net.core.somaxconn");
}

static enum doctor_verdict
look_syn_backlog(const struct doctor *d, struct doctor_finding *f)
{
    return backlog_judge(d, f, IPV4 "tcp_max_syn_backlog", "net.ipv4.tcp_max_syn_backlog");
}

/* A setting of IPv4 that must have one value. */
static enum doctor_verdict
setting_judge(const struct doctor *d, struct doctor_finding *f, const char *name, bool on,
              const char *why)
{
    char path[128];
    uint64_t value;

    snprintf(path, sizeof(path), IPV4 "%s", name);
    if (!doctor_number(d, path, &value))
        return doctor_unread(f, path);
    if ((value != 0) == on)
        return doctor_fine(f, "net.ipv4.%s = %" PRIu64, name, value);
    doctor_mend(f, "sysctl -w net.ipv4.%s=%d", name, on);
    return doctor_wrong(f, "net.ipv4.%s is %" PRIu64 ": %s", name, value, why);
}

static enum doctor_verdict
look_syncookies(const struct doctor *d, struct doctor_finding *f)
{
    return setting_judge(d, f, "tcp_syncookies", true, "a flood of SYNs keeps everybody out");
}

static enum doctor_verdict
look_abort(const struct doctor *d, struct doctor_finding *f)
{
    return setting_judge(d, f, "tcp_abort_on_overflow", false,
                         "connections that a full backlog could take a moment later are reset");
}

/* The value of a name in /proc/net/netstat or snmp: a line of names, then one of values. */
static bool
table_read(const struct doctor *d, const char *path, const char *row, const char *name,
           uint64_t *out)
{
    char text[DOCTOR_FILE_MAX], word[64];
    const char *names = doctor_read(d, path, text) ? strstr(text, row) : NULL, *values;
    int column = 0, n;

    values = names != NULL ? strstr(names + 1, row) : NULL;
    if (values == NULL)
        return false;
    for (; sscanf(names, "%63s%n", word, &n) == 1 && strcmp(word, name) != 0; column++)
        names += n;
    for (; column > 0 && sscanf(values, "%63s%n", word, &n) == 1; column--)
        values += n;
    return sscanf(values, "%" SCNu64, out) == 1;
}

static enum doctor_verdict
look_overflows(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t lost, accepted, backlog = doctor_backlog(d) * 4;

    if (!table_read(d, "/proc/net/netstat", "TcpExt:", "ListenOverflows", &lost) ||
        !table_read(d, "/proc/net/snmp", "Tcp:", "PassiveOpens", &accepted))
        return doctor_unread(f, "/proc/net/netstat");
    if (lost * DOCTOR_MANY <= accepted + lost)
        return doctor_fine(f, "full backlogs have lost %" PRIu64 " connections of %" PRIu64, lost,
                           accepted + lost);
    doctor_mend(f,
                "add ?backlog=%" PRIu64 " to the listeners; sysctl -w net.core.somaxconn=%" PRIu64
                "; msockctl -r %s reload",
                backlog, backlog, d->ctl->dir);
    return doctor_wrong(f,
                        "backlogs that were full have lost %" PRIu64 " connections of %" PRIu64
                        " since this machine started",
                        lost, accepted + lost);
}

/* Is the port in a list such as "8000-8010,9000"? */
static bool
ports_have(const char *list, unsigned port)
{
    unsigned first, last;
    int n;

    while (sscanf(list, "%u%n", &first, &n) == 1) {
        last = first;
        list += n;
        if (*list == '-' && sscanf(list, "-%u%n", &last, &n) == 1)
            list += n;
        if (port >= first && port <= last)
            return true;
        list += *list == ',';
    }
    return false;
}

/* Any program's connection may have the port while msockd is away, and then it cannot start. */
static enum doctor_verdict
look_port(const struct doctor *d, struct doctor_finding *f)
{
    char reserved[DOCTOR_FILE_MAX], range[DOCTOR_FILE_MAX];
    unsigned first, last;

    if (d->config == NULL)
        return doctor_unknown(f, "the ports are not known: %s", d->config_error);
    if (!doctor_read(d, IPV4 "ip_local_port_range", range) ||
        !doctor_read(d, IPV4 "ip_local_reserved_ports", reserved) ||
        sscanf(range, "%u %u", &first, &last) != 2)
        return doctor_unread(f, IPV4 "ip_local_port_range");
    for (size_t i = 0; i < d->config->listener_count; i++) {
        unsigned port = endpoint_port(&d->config->listeners[i].endpoints[0]);

        if (port < first || port > last || ports_have(reserved, port))
            continue;
        doctor_mend(f, "sysctl -w net.ipv4.ip_local_reserved_ports=%u", port);
        return doctor_wrong(f, "port %u of %s is one that the kernel gives to connections", port,
                            d->config->listeners[i].name);
    }
    return doctor_fine(f, "no listener has a port that the kernel gives to connections");
}

static enum doctor_verdict
look_conntrack(const struct doctor *d, struct doctor_finding *f)
{
    static const char path[] = "/proc/sys/net/netfilter/nf_conntrack_";
    char count[64], max[64];
    uint64_t now, most;

    snprintf(count, sizeof(count), "%scount", path);
    snprintf(max, sizeof(max), "%smax", path);
    if (!doctor_number(d, count, &now) || !doctor_number(d, max, &most))
        return doctor_fine(f, "the kernel tracks no connections");
    if (now <= most / 10 * 9)
        return doctor_fine(f, "%" PRIu64 " of %" PRIu64 " connections are tracked", now, most);
    doctor_mend(f, "sysctl -w net.netfilter.nf_conntrack_max=%" PRIu64, most * 4);
    return doctor_wrong(f,
                        "%" PRIu64 " of %" PRIu64 " connections are tracked: beyond it, packets "
                        "are dropped",
                        now, most);
}

/* Pages of all sockets against the pressure mark, the second of three. */
static enum doctor_verdict
look_tcp_memory(const struct doctor *d, struct doctor_finding *f)
{
    unsigned long least, pressure, most;
    char text[DOCTOR_FILE_MAX];
    uint64_t now;

    if (!doctor_read(d, IPV4 "tcp_mem", text) ||
        sscanf(text, "%lu %lu %lu", &least, &pressure, &most) != 3 ||
        !doctor_field(d, "/proc/net/sockstat", " mem ", &now))
        return doctor_unread(f, "/proc/net/sockstat");
    if (now < pressure)
        return doctor_fine(f, "sockets have %" PRIu64 " pages, the mark is %lu", now, pressure);
    doctor_mend(f, "sysctl -w 'net.ipv4.tcp_mem=%lu %lu %lu'", least * 2, pressure * 2, most * 2);
    return doctor_wrong(f,
                        "sockets have %" PRIu64 " pages: beyond %lu the kernel makes windows "
                        "small",
                        now, pressure);
}

const struct doctor_check doctor_network[] = {
    {"somaxconn", look_somaxconn},
    {"syn-backlog", look_syn_backlog},
    {"syncookies", look_syncookies},
    {"abort-on-overflow", look_abort},
    {"overflows", look_overflows},
    {"port", look_port},
    {"conntrack", look_conntrack},
    {"tcp-memory", look_tcp_memory},
    {NULL, NULL},
};

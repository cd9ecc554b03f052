#include "ledger_case.h"

#include "raw_frame.h"
#include "stats.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer ledger_peers[LEDGER_PEERS];

struct daemon *
ledger_begin(struct daemon_options *options, const char *proto, const char *more)
{
    static char url[4 * HARNESS_PATH_LEN];
    struct daemon *d;

    options->workers = 1;
    options->listen[0] = url;
    if (options->listen[1] == NULL)
        options->listen[1] = "msp://127.0.0.1:0";
    d = daemon_create(options);
    snprintf(url, sizeof(url), "%s://%s/s?%s", proto, d->dir, more);
    daemon_launch(d);
    return d;
}

uint64_t
ledger_memory(const struct daemon *d, uint64_t (*by)(pid_t))
{
    struct proc_list workers;

    daemon_workers(d, &workers);
    assert_int_equal(workers.count, 1);
#ifdef MS_SANITIZE
    by = NULL;
#endif
    return by != NULL ? by(workers.pid[0]) : 0;
}

bool
ledger_look(const struct daemon *d)
{
    uint64_t now = ledger_memory(d, proc_memory);

    if (now > LEDGER_MAX + LEDGER_SLACK)
        fail_msg("the worker has %llu MiB", (unsigned long long)(now / MIB));
    return true;
}

void
ledger_connect(const struct daemon *d, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        peer_connect(&ledger_peers[i], &d->listeners[0]);
}

void
ledger_close(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        peer_close(&ledger_peers[i]);
}

void
ledger_write_all(const struct daemon *d, struct peer *p, const void *data, size_t n)
{
    size_t at = 0;

    while (at < n) {
        size_t before = at;
        ssize_t k = send(p->fd, (const char *)data + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        struct pollfd room = {.fd = p->fd, .events = POLLOUT};

        if (k < 0)
            assert_int_equal(errno, EAGAIN);
        at += k > 0 ? (size_t)k : 0;
        if (k < 0)
            assert_int_equal(poll(&room, 1, LEDGER_PATIENT), 1);
        if (at / MIB != before / MIB || at == n)
            ledger_look(d);
    }
}

size_t
ledger_write_some(struct peer *p, const char *data, size_t n, size_t left)
{
    ssize_t k = 1;

    while (left > 0 && k > 0) {
        size_t at = (n - left % n) % n;

        k = send(p->fd, data + at, n - at < left ? n - at : left, MSG_DONTWAIT | MSG_NOSIGNAL);
        left -= k > 0 ? (size_t)k : 0;
    }
    return left;
}

char *
ledger_frame(size_t n)
{
    char *out = calloc(1, n + 4);

    raw_frame_head((uint8_t *)out, (uint32_t)n);
    memset(out + 4, 'x', n);
    return out;
}

void
ledger_expect_good(const struct daemon *d)
{
    struct answer a;
    struct peer good;

    peer_connect(&good, &d->listeners[1]);
    assert_int_equal(peer_send_plain(&good, NULL, "good", 4, &a), ANSWER_ACK);
    peer_close(&good);
}

void
ledger_send_until_calm(const struct daemon *d, unsigned senders, const char *message, size_t n,
                       size_t *left, struct waiting *w)
{
    uint64_t taken = 0;
    unsigned calm = 0;

    do {
        uint64_t now;

        for (unsigned i = 0; i < senders; i++)
            left[i] = ledger_write_some(&ledger_peers[i], message, n, left[i]);
        ledger_look(d);
        now = stats_total(d, "bytes_in");
        calm = now == taken ? calm + 1 : 0;
        taken = now;
    } while (calm < 20 && waiting_more(w));
}

char ledger_gate[HARNESS_PATH_LEN];

void
ledger_open_gate(struct daemon *d)
{
    (void)d;
    harness_write_file(ledger_gate, "", 0);
}

struct daemon *
ledger_begin_behind_gate(struct daemon_options *options, const char *more, unsigned reply)
{
    static const char command[] = "import os,sys,time\n"
                                  "while not os.path.exists('%s'): time.sleep(.02)\n"
                                  "i,o=sys.stdin.buffer,sys.stdout.buffer\n"
                                  "r=(%u).to_bytes(4,'big')+b'r'*%u\n"
                                  "while h:=i.read(4): i.read(int.from_bytes(h,'big')); "
                                  "o.write(r); o.flush()\n";
    char script[HARNESS_PATH_LEN], url[HARNESS_PATH_LEN + 200], dir[HARNESS_PATH_LEN];
    char text[HARNESS_PATH_LEN + 400];
    int n;

    harness_directory(dir);
    harness_join(script, dir, "child.py");
    harness_join(ledger_gate, dir, "gate");
    n = snprintf(text, sizeof(text), command, ledger_gate, reply, reply);
    harness_write_file(script, text, (size_t)n);
    snprintf(url, sizeof(url),
             "handler=exec&exec=pool&exec_children=1&exec_timeout=10m%s&command=python3%%20%s",
             more, script);
    options->listen[1] = "msp://127.0.0.1:0";
    return ledger_begin(options, "frame", url);
}

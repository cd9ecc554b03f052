/* What both the writing and the reading half need of the layout. */
#include "stats/stats_layout.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- stats space --- */

/* Blocks of the sparse files are taken through the descriptor, where a full disk is an error that
 * can be answered, and not through the mapping, where it is a signal. */

static int
space_fill(int fd, uint64_t offset, uint64_t len)
{
    static const char zeros[4096];

    for (uint64_t n; len > 0; offset += n, len -= n) {
        n = len < sizeof(zeros) ? len : sizeof(zeros);
        if (fd_pwrite_all(fd, zeros, (size_t)n, (off_t)offset) < 0)
            return -1;
    }
    return 0;
}

int
stats_space_reserve(int fd, uint64_t offset, uint64_t len)
{
    int rc;

    do
        rc = fallocate(fd, 0, (off_t)offset, (off_t)len);
    while (rc < 0 && errno == EINTR);
    /* There may be no such call, here or on this file system; whatever else is wrong shows again.
     */
    if (rc < 0 && errno != ENOSPC && errno != EDQUOT && errno != EFBIG)
        rc = space_fill(fd, offset, len);
    return rc;
}

/* --- sources --- */

const char *
stats_blame_words(unsigned blame)
{
    static const char *const all[] = {"",
#define X(name, words, weight_ms) words,
                                      STATS_BLAME_LIST(X)
#undef X
    };

    return blame < MS_ARRAY_LEN(all) ? all[blame] : "";
}

/* --- stats peer --- */

static char *
decimal(char *to, unsigned v)
{
    char digits[12];
    unsigned n = 0;

    do
        digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    while (n > 0)
        *to++ = digits[--n];
    return to;
}

/* Once for each message in the journal: several times faster than inet_ntop and snprintf. */
static void
format_ipv4(const uint8_t address[4], uint16_t port, char *out)
{
    for (int i = 0; i < 4; i++) {
        out = decimal(out, address[i]);
        *out++ = i < 3 ? '.' : ':';
    }
    *decimal(out, port) = '\0';
}

static void
format_ipv6(const uint8_t address[16], uint16_t port, char out[ENDPOINT_TEXT_LEN])
{
    struct endpoint ep = {0};
    struct sockaddr_in6 *in6 = (void *)&ep.addr;

    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, address, 16);
    ep.len = sizeof(*in6);
    endpoint_format(&ep, out);
}

void
stats_peer_format(uint8_t family, const uint8_t address[16], uint16_t port,
                  char out[ENDPOINT_TEXT_LEN])
{
    uint32_t pid = be32_load(address);

    if (family == STATS_FAMILY_IPV4)
        format_ipv4(address, port, out);
    else if (family == STATS_FAMILY_IPV6)
        format_ipv6(address, port, out);
    else if (pid != 0)
        snprintf(out, ENDPOINT_TEXT_LEN, "unix:pid %u", pid);
    else
        snprintf(out, ENDPOINT_TEXT_LEN, "unix:");
}

size_t
stats_frame_format(const struct stats_frame *frame, char out[STATS_FRAME_LEN])
{
    const bool named = frame->function[0] != '\0';
    int n = 0;

    if (named)
        n = snprintf(out, STATS_FRAME_LEN, "%.*s+0x%llx (", (int)sizeof(frame->function),
                     frame->function, (unsigned long long)frame->offset);
    n += snprintf(out + n, STATS_FRAME_LEN - (size_t)n, "%.*s+0x%llx%s", (int)sizeof(frame->module),
                  frame->module, (unsigned long long)frame->at, named ? ")" : "");
    return (size_t)n;
}

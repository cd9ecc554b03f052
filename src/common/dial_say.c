/* What is said where servers fail: each with its reason, as far as there is room. */
#include "common/dial_state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define SAY_ASK " (is msockd running there?)"

static void MS_PRINTF(3, 4) say_add(char *out, size_t n, const char *fmt, ...)
{
    size_t len = strlen(out);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(out + len, n - len, fmt, ap);
    va_end(ap);
}

void
dial_say_why(struct dialer *d, struct dial_server *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s->why, sizeof(s->why), fmt, ap);
    va_end(ap);
    s->nobody = false;
    d->has_failed = true;
}

static void
say_reason(const struct dialer *d, int error, char *out, size_t n)
{
    char reason[128];

    switch (error) {
    case ECONNREFUSED:
        say_add(out, n, "connection refused");
        break;
    case ENOENT:
        say_add(out, n, "there is no such socket");
        break;
    case ETIMEDOUT:
        say_add(out, n, "no connection within %u ms", d->ms);
        break;
    case EADDRNOTAVAIL:
        say_add(out, n, "no connection: this host has no free port or no address for it");
        break;
    default:
        say_add(out, n, "no connection: %s", strerror_r(error, reason, sizeof(reason)));
        break;
    }
}

/* The name, each address that has failed where that is not the same, and the reasons. False: none
 * has. */
static bool
say_server(const struct dialer *d, struct dial_server *s, char *out, size_t n)
{
    char text[ENDPOINT_TEXT_LEN];
    bool any = false;

    s->nobody = true;
    snprintf(out, n, "%s: ", s->name);
    for (unsigned i = 0; i < s->count; i++) {
        const struct dial_address *a = &s->list[i];

        if (!a->tried || a->error == 0)
            continue;
        s->nobody &= a->error == ECONNREFUSED || a->error == ENOENT;
        endpoint_format(&a->at, text);
        if (any)
            say_add(out, n, d->count > 1 ? ", " : "; ");
        if (s->count > 1 || (strcmp(text, s->name) != 0 && d->url->path == NULL))
            say_add(out, n, "%s: ", text);
        say_reason(d, a->error, out, n);
        any = true;
    }
    return any;
}

const char *
dial_failures(struct dialer *d)
{
    size_t len = 0;
    bool nobody = true;

    if (d->count == 1 || !d->has_failed)
        return NULL;
    for (unsigned i = 0; i < d->count; i++) {
        const struct dial_server *s = &d->servers[i];
        size_t need = strlen(s->why) + sizeof("; and others") + sizeof(SAY_ASK);

        if (s->why[0] == '\0')
            continue;
        nobody &= s->nobody;
        if (need > sizeof(d->error) - len) {
            say_add(d->error, sizeof(d->error), "; and others");
            break;
        }
        len += (size_t)snprintf(d->error + len, sizeof(d->error) - len, "%s%s", len > 0 ? "; " : "",
                                s->why);
    }
    if (nobody)
        say_add(d->error, sizeof(d->error), SAY_ASK);
    return d->error;
}

void
dial_say_race(struct dialer *d, bool lost)
{
    struct dial_server *only = &d->servers[0];

    for (unsigned i = 0; d->count > 1 && i < d->count; i++) {
        struct dial_server *s = &d->servers[i];
        char item[DIAL_WHY_LEN];

        if (s->state != DIAL_FOUND || !say_server(d, s, item, sizeof(item)))
            continue;
        memcpy(s->why, item, sizeof(item));
        d->has_failed = true;
    }
    if (!lost)
        return;
    if (d->is_starved) {
        snprintf(d->error, sizeof(d->error), "there is no memory");
    } else if (d->count > 1) {
        (void)dial_failures(d);
    } else if (only->state != DIAL_FOUND) {
        snprintf(d->error, sizeof(d->error), "%s", only->why);
    } else {
        (void)say_server(d, only, d->error, sizeof(d->error));
        if (only->nobody)
            say_add(d->error, sizeof(d->error), SAY_ASK);
    }
}

void
dial_note(struct dialer *d, const char *sentence)
{
    if (d->count > 1)
        dial_say_why(d, &d->servers[d->last], "%s", sentence);
}

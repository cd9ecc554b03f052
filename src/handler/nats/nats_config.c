/* What the options of a listener with handler=nats say. */
#include "handler/nats/nats.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK_MAX_US 3000000 /* of `msockd -t`, for one listener */

static char *
nats_escaped(const char *text)
{
    struct buffer out;
    char *copy;

    buffer_init(&out);
    header_escape(&out, text, strlen(text));
    copy = ms_strdup(buffer_cstr(&out));
    buffer_fini(&out);
    return copy;
}

static int
nats_refuse(const struct listener_config *l, const char *what, const char *why,
            char error[HANDLER_ERROR_LEN])
{
    snprintf(error, HANDLER_ERROR_LEN, "handler=nats on %.60s: %.40s%s%.140s", l->name,
             what != NULL ? what : "", what != NULL ? ": " : "", why);
    return -1;
}

/* A name that has a place in the subjects of the servers' own questions. */
static bool
nats_is_stream(const char *name)
{
    return name != NULL && name[0] != '\0' && strlen(name) < NATS_NAME_MAX &&
           strpbrk(name, ".*> /\\\t\r\n") == NULL;
}

int
nats_configure(struct nats *h, const struct listener_config *l, char error[HANDLER_ERROR_LEN])
{
    const char *scope = l->text[OPTION_ID_SCOPE];
    const char *wrong = subject_check(l->text[OPTION_SUBJECT]);

    if (!nats_is_stream(l->text[OPTION_STREAM]))
        return nats_refuse(l, "stream", "expected the name of a stream, without dots and spaces",
                           error);
    if (wrong != NULL)
        return nats_refuse(l, "subject", wrong, error);
    h->template = l->text[OPTION_SUBJECT];
    subject_wildcard(h->template, h->subjects);
    h->ahead = (unsigned)l->number[OPTION_NATS_AHEAD];
    h->label = ms_calloc(1, strlen(l->name) + sizeof("nats on "));
    sprintf(h->label, "nats on %s", l->name);
    h->scope = nats_escaped(scope != NULL ? scope : l->name);
    h->config = (struct publisher_config){
        .label = h->label,
        .servers = l->text[OPTION_SERVERS],
        .stream = l->text[OPTION_STREAM],
        .user = l->text[OPTION_NATS_USER],
        .password_file = l->text[OPTION_NATS_PASSWORD_FILE],
        .creds = l->text[OPTION_NATS_CREDS],
        .nkey = l->text[OPTION_NATS_NKEY],
        .tls = l->number[OPTION_NATS_TLS] != 0,
        .ca = l->text[OPTION_NATS_CA],
        .cert = l->text[OPTION_NATS_CERT],
        .key = l->text[OPTION_NATS_KEY],
        .timeout_us = l->number[OPTION_NATS_TIMEOUT],
        .create = l->number[OPTION_STREAM_CREATE] != 0,
        .subjects = h->subjects,
        .replicas = (unsigned)l->number[OPTION_REPLICAS],
        .max_age_us = l->number[OPTION_MAX_AGE],
        .duplicates_us = l->number[OPTION_DUPLICATE_WINDOW],
    };
    return 0;
}

void
nats_forget(struct nats *h)
{
    publisher_close(h->publisher);
    h->publisher = NULL;
    free(h->label);
    free(h->scope);
    parcels_fini(&h->parcels);
}

static int
nats_look(struct nats *h, const struct listener_config *l, char error[HANDLER_ERROR_LEN])
{
    uint64_t wait_us = h->config.timeout_us < CHECK_MAX_US ? h->config.timeout_us : CHECK_MAX_US;
    char why[NATS_ERROR_LEN];

    h->config.only_looks = true;
    h->publisher = publisher_open(&h->config, why);
    if (h->publisher == NULL)
        return nats_refuse(l, NULL, why, error);
    switch (publisher_wait(h->publisher, clock_mono_us() + wait_us, why)) {
    case PUBLISHER_READY:
        break;
    case PUBLISHER_AWAY:
        (void)nats_refuse(l, "the stream was not looked at", why, error);
        break;
    case PUBLISHER_REFUSED:
        return nats_refuse(l, NULL, why, error);
    }
    return 0;
}

int
nats_check(const struct listener_config *l, char error[HANDLER_ERROR_LEN])
{
    struct nats *h = ms_calloc(1, sizeof(*h));
    int rc = nats_configure(h, l, error);

    if (rc == 0) {
        error[0] = '\0';
        rc = nats_look(h, l, error);
    }
    nats_forget(h);
    free(h);
    return rc;
}

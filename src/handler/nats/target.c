/* From options to a publisher. */
#include "handler/nats/target.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK_MAX_US 3000000 /* of `msockd -t`, for one listener */
#define AGE_MIN_US   100000  /* a server makes no stream with less */

static int
target_refuse(const struct nats_target *t, const char *what, const char *why,
              char error[HANDLER_ERROR_LEN])
{
    snprintf(error, HANDLER_ERROR_LEN, "%.70s: %.40s%s%.140s", t->label, what,
             what[0] != '\0' ? ": " : "", why);
    return -1;
}

/* A name that has a place in the subjects of the servers' own questions. */
static bool
target_is_stream(const char *name)
{
    return name != NULL && name[0] != '\0' && strlen(name) < NATS_NAME_MAX &&
           strpbrk(name, ".*> /\\\t\r\n") == NULL;
}

int
nats_target_init(struct nats_target *t, const struct listener_config *options,
                 char error[HANDLER_ERROR_LEN])
{
    const struct listener_config *l = options;
    const char *wrong = subject_check(l->text[OPTION_SUBJECT]);
    bool is_listener = l->proto != NULL; /* else it is the relay */

    t->label = ms_calloc(1, strlen(l->name) + sizeof("nats on "));
    sprintf(t->label, "%s%s", is_listener ? "nats on " : "", l->name);
    if (!target_is_stream(l->text[OPTION_STREAM]))
        return target_refuse(t, "stream", "expected the name of a stream, without dots and spaces",
                             error);
    if (wrong != NULL)
        return target_refuse(t, "subject", wrong, error);
    if (l->number[OPTION_MAX_AGE] != 0 && l->number[OPTION_MAX_AGE] < AGE_MIN_US)
        return target_refuse(t, "max_age", "expected 0, or 100ms and more", error);
    t->template = l->text[OPTION_SUBJECT];
    subject_wildcard(t->template, t->subjects);
    t->config = (struct publisher_config){
        .label = t->label,
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
        .subjects = t->subjects,
        .replicas = (unsigned)l->number[OPTION_REPLICAS],
        .max_age_us = l->number[OPTION_MAX_AGE],
        .duplicates_us = l->number[OPTION_DUPLICATE_WINDOW],
    };
    return 0;
}

void
nats_target_fini(struct nats_target *t)
{
    free(t->label);
}

struct publisher *
nats_target_open(const struct nats_target *t, uint64_t wait_us, char error[HANDLER_ERROR_LEN])
{
    struct publisher *publisher;
    char why[NATS_ERROR_LEN];

    if (wait_us > t->config.timeout_us)
        wait_us = t->config.timeout_us;
    error[0] = '\0';
    publisher = publisher_open(&t->config, why);
    if (publisher == NULL) {
        (void)target_refuse(t, "", why, error);
        return NULL;
    }
    switch (publisher_wait(publisher, clock_mono_us() + wait_us, why)) {
    case PUBLISHER_READY:
        break;
    case PUBLISHER_AWAY:
        (void)target_refuse(t, "the stream was not looked at", why, error);
        break;
    case PUBLISHER_REFUSED:
        (void)target_refuse(t, "", why, error);
        publisher_close(publisher);
        return NULL;
    }
    return publisher;
}

int
nats_target_check(const struct listener_config *options, char error[HANDLER_ERROR_LEN])
{
    struct nats_target t = {0};
    struct publisher *publisher = NULL;

    if (nats_target_init(&t, options, error) == 0) {
        t.config.only_looks = true;
        publisher = nats_target_open(&t, CHECK_MAX_US, error);
    }
    publisher_close(publisher);
    nats_target_fini(&t);
    return publisher != NULL ? 0 : -1;
}

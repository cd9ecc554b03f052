/* Server-sent events: one text a second for all who listen. Each reads it at his own speed and goes
 * on with the newest one, so a slow one holds back nobody and costs one text. */
#include "serve.h"

#include <stdlib.h>

#define BLOCK_SIZE 65536
#define FRESH_US   500000

/* Belongs to whoever reads it, and to the list as long as it is the newest. */
struct text {
    struct document document;
    unsigned owners;
};

struct listener {
    struct listeners *list;
    struct listener *next;
    struct MHD_Connection *connection;
    struct text *text; /* that he is reading; NULL: none */
    size_t at;
    uint64_t seen; /* number of the newest text that he has had */
    bool asleep;   /* his connection is suspended */
};

struct listeners {
    struct listener *first;
    struct text *newest;
    uint64_t number; /* of newest */
    uint64_t made_us;
    unsigned count;
};

struct listeners *
listeners_create(void)
{
    return ms_calloc(1, sizeof(struct listeners));
}

static void
text_release(struct text *text)
{
    if (text == NULL || --text->owners > 0)
        return;
    free(text->document.text);
    free(text);
}

void
listeners_destroy(struct listeners *l)
{
    text_release(l->newest);
    free(l);
}

static void
newest_make(struct serve *s)
{
    struct listeners *l = s->listeners;

    text_release(l->newest);
    l->newest = ms_calloc(1, sizeof(*l->newest));
    l->newest->document = document_events(s);
    l->newest->owners = 1;
    l->number++;
    l->made_us = clock_mono_us();
}

/* libmicrohttpd asks for more of the answer. */
static ssize_t
listener_read(void *cls, uint64_t position, char *out, size_t max)
{
    struct listener *me = cls;
    size_t n;

    (void)position;
    if (me->text == NULL && me->seen == me->list->number) {
        me->asleep = true;
        MHD_suspend_connection(me->connection);
        return 0;
    }
    if (me->text == NULL) {
        me->text = me->list->newest;
        me->text->owners++;
        me->seen = me->list->number;
        me->at = 0;
    }
    n = me->text->document.len - me->at;
    n = n < max ? n : max;
    memcpy(out, me->text->document.text + me->at, n);
    me->at += n;
    if (me->at == me->text->document.len) {
        text_release(me->text);
        me->text = NULL;
    }
    return (ssize_t)n;
}

static void
listener_leave(void *cls)
{
    struct listener *me = cls, **at = &me->list->first;

    while (*at != me)
        at = &(*at)->next;
    *at = me->next;
    me->list->count--;
    text_release(me->text);
    free(me);
}

struct MHD_Response *
listeners_add(struct serve *s, struct MHD_Connection *connection)
{
    struct listener *me;

    if (s->listeners->count >= LISTENERS_MAX)
        return NULL;
    if (clock_mono_us() - s->listeners->made_us > FRESH_US || s->listeners->newest == NULL)
        newest_make(s);
    me = ms_calloc(1, sizeof(*me));
    *me = (struct listener){s->listeners, s->listeners->first, connection, NULL, 0, 0, false};
    s->listeners->first = me;
    s->listeners->count++;
    return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_SIZE, listener_read, me,
                                             listener_leave);
}

void
listeners_wake(struct listeners *l)
{
    for (struct listener *one = l->first; one != NULL; one = one->next) {
        if (!one->asleep)
            continue;
        one->asleep = false;
        MHD_resume_connection(one->connection);
    }
}

void
listeners_tick(struct serve *s)
{
    if (s->listeners->first == NULL)
        return;
    newest_make(s);
    listeners_wake(s->listeners);
}

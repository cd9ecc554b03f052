/* Nearly every path has one content. A path that was replaced has several, and which of them came
 * last is known only within a segment. */
#include "handler/journal/journal.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
named_compare(const void *a, const void *b)
{
    return strcmp(((const struct named_path *)a)->path, ((const struct named_path *)b)->path);
}

static struct named_path *
named_get(struct named *named, const char *path)
{
    struct named_path *entry = ms_calloc(1, sizeof(*entry));
    struct named_path **found;

    entry->path = ms_strdup(path);
    found = tsearch(entry, &named->tree, named_compare);
    MS_ASSERT(found != NULL);
    if (*found != entry) {
        free(entry->path);
        free(entry);
    }
    return *found;
}

static struct named_content *
named_content(struct named_path *entry, uint64_t size, const char *sha256)
{
    struct named_content *c;

    for (c = entry->contents; c != NULL; c = c->next)
        if (c->size == size && strcmp(c->sha256, sha256) == 0)
            return c;
    c = ms_calloc(1, sizeof(*c));
    c->size = size;
    snprintf(c->sha256, sizeof(c->sha256), "%s", sha256);
    c->next = entry->contents;
    entry->contents = c;
    return c;
}

/* The content that the segment's record before said has been replaced by that of another one. */
static void
named_drop(struct named_path *entry, unsigned segment, const struct named_content *keep)
{
    struct named_content **at = &entry->contents, *c;

    while ((c = *at) != NULL) {
        if (c != keep && c->segment == segment) {
            c->segment = 0;
            c->segments--;
        }
        if (c != keep && c->segments == 0) {
            *at = c->next;
            free(c);
        } else {
            at = &c->next;
        }
    }
}

struct named_path *
named_add(struct named *named, const char *path, const char *id, uint64_t size, const char *sha256)
{
    struct named_path *entry = named_get(named, path);
    struct named_content *c = named_content(entry, size, sha256);

    if (c->segment != named->segment) {
        c->segment = named->segment;
        c->segments++;
    }
    if (!named->keep_all)
        named_drop(entry, named->segment, c);
    if (strcmp(id, entry->id) > 0)
        snprintf(entry->id, sizeof(entry->id), "%s", id);
    return entry;
}

const struct named_path *
named_find(const struct named *named, const char *path)
{
    struct named_path key = {.path = (char *)(uintptr_t)path};
    struct named_path *const *found = tfind(&key, &named->tree, named_compare);

    return found != NULL ? *found : NULL;
}

bool
named_is(const struct named_path *entry, uint64_t size, const char *sha256)
{
    for (const struct named_content *c = entry->contents; c != NULL; c = c->next)
        if (c->size == size && sha256[0] != '\0' && strcmp(c->sha256, sha256) == 0)
            return true;
    return false;
}

static void
named_free(void *entry)
{
    struct named_content *c;

    while ((c = ((struct named_path *)entry)->contents) != NULL) {
        ((struct named_path *)entry)->contents = c->next;
        free(c);
    }
    free(((struct named_path *)entry)->path);
    free(entry);
}

void
named_fini(struct named *named)
{
    tdestroy(named->tree, named_free);
    named->tree = NULL;
}

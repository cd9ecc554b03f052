/* A configuration as bytes. In an upgrade they go from the new program, which reads the
 * configuration, over the master of the version before to the workers of the new one. So each
 * member has its name: what a version does not know it leaves out, and what is missing stays 0. */
#include "config/config.h"

#include <stdlib.h>

enum pack_kind {
    PACK_MEMBER, /* of struct config, or of a listener */
    PACK_NUMBER, /* an option's, in a listener */
    PACK_TEXT,
};

/* Before each name and its bytes. */
struct pack_head {
    uint32_t len; /* of the bytes */
    uint16_t row; /* a listener's number + 1; 0: the configuration itself */
    uint8_t kind; /* enum pack_kind */
    uint8_t name_len;
};

#define PACK_RELAY (CONFIG_LISTENERS_MAX + 1) /* its row */

struct pack_field {
    const char *name;
    size_t at, size; /* size 0: a string */
    bool is_own;     /* only workers read it, which are of the version that has packed it */
};

#define FIELD(type, member) .name = #member, .at = offsetof(struct type, member)
#define VALUE(type, member) FIELD(type, member), .size = sizeof(((struct type *)0)->member)
#define OWN(type, member)   VALUE(type, member), .is_own = true

/* All members: tests/lint_includes.sh looks. Those that say for whom it was packed come first, and
 * arrays by option have their own kinds. */
static const struct pack_field config_fields[] = {
    {VALUE(config, listener_count)},
    {FIELD(config, data_dir)},
    {VALUE(config, data_id)},
    {VALUE(config, data_device)},
    {VALUE(config, data_inode)},
    {VALUE(config, data_parts)},
    {FIELD(config, runtime_dir)},
    {FIELD(config, config_file)},
    {FIELD(config, user)},
    {FIELD(config, group)},
    {VALUE(config, uid)},
    {VALUE(config, gid)},
    {VALUE(config, sandbox)},
    {VALUE(config, daemonize)},
    {FIELD(config, log_file)},
    {VALUE(config, log_level)},
    {VALUE(config, log_format)},
    {VALUE(config, max_connections)},
    {VALUE(config, source_connections)},
    {VALUE(config, source_rate)},
    {VALUE(config, source_unfinished)},
    {VALUE(config, min_free)},
    {OWN(config, exempt)},
    {VALUE(config, drain_timeout_us)},
    {VALUE(config, ready_timeout_us)},
    {VALUE(config, memory_message_max)},
    {VALUE(config, worker_memory_max)},
    {VALUE(config, dedup_max)},
    {VALUE(config, dedup_window_us)},
    {VALUE(config, on_conflict)},
    {VALUE(config, inline_max)},
    {VALUE(config, segment_size)},
    {VALUE(config, segment_age_us)},
    {VALUE(config, sync)},
    {VALUE(config, retain_relayed)},
    {VALUE(config, retain_min_us)},
};

static const struct pack_field listener_fields[] = {
    {FIELD(listener_config, url)},
    {FIELD(listener_config, name)},
    {FIELD(listener_config, proto)},
    {FIELD(listener_config, handler)},
    {FIELD(listener_config, given)},
    {VALUE(listener_config, endpoint_count)},
    {VALUE(listener_config, endpoints)},
    {OWN(listener_config, limits)},
    {OWN(listener_config, allow)},
    {OWN(listener_config, deny)},
    {OWN(listener_config, proxy_from)},
    {OWN(listener_config, keys)},
    {FIELD(listener_config, tls.part[TLS_CERT])},
    {FIELD(listener_config, tls.part[TLS_KEY])},
    {FIELD(listener_config, tls.part[TLS_CA])},
};

/* --- packing --- */

static void
pack_put(struct buffer *out, uint16_t row, enum pack_kind kind, const char *name, const void *bytes,
         size_t n)
{
    const struct pack_head head = {(uint32_t)n, row, (uint8_t)kind, (uint8_t)strlen(name)};

    buffer_append(out, &head, sizeof(head));
    buffer_append(out, name, head.name_len);
    buffer_append(out, bytes, n);
}

static void
pack_text(struct buffer *out, uint16_t row, enum pack_kind kind, const char *name, const char *text)
{
    if (text != NULL)
        pack_put(out, row, kind, name, text, strlen(text));
}

static void
pack_fields(struct buffer *out, uint16_t row, const struct pack_field *fields, size_t n,
            const void *of)
{
    for (size_t i = 0; i < n; i++) {
        const char *at = (const char *)of + fields[i].at;

        if (fields[i].size > 0)
            pack_put(out, row, PACK_MEMBER, fields[i].name, at, fields[i].size);
        else
            pack_text(out, row, PACK_MEMBER, fields[i].name, *(char *const *)(const void *)at);
    }
}

static void
pack_listener(struct buffer *out, uint16_t row, const struct listener_config *l)
{
    pack_fields(out, row, listener_fields, MS_ARRAY_LEN(listener_fields), l);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *name = config_options[i].name;

        pack_put(out, row, PACK_NUMBER, name, &l->number[i], sizeof(l->number[i]));
        pack_text(out, row, PACK_TEXT, name, l->text[i]);
    }
}

void
config_pack(const struct config *config, struct buffer *out)
{
    const uint32_t workers = config->workers, set = config->workers_set;

    buffer_append(out, &workers, sizeof(workers));
    buffer_append(out, &set, sizeof(set));
    if (config->as_read.len > 0) {
        buffer_append(out, buffer_bytes(&config->as_read), config->as_read.len);
        return;
    }
    pack_fields(out, 0, config_fields, MS_ARRAY_LEN(config_fields), config);
    for (size_t i = 0; i < config->listener_count; i++)
        pack_listener(out, (uint16_t)(i + 1), &config->listeners[i]);
    pack_listener(out, PACK_RELAY, &config->relay);
}

/* --- unpacking --- */

/* The next n bytes, or NULL. */
static const char *
unpack_bytes(const char **from, size_t *left, size_t n)
{
    const char *bytes = *from;

    if (*left < n)
        return NULL;
    *from += n;
    *left -= n;
    return bytes;
}

static void
unpack_text(char **text, const char *bytes, size_t n)
{
    free(*text);
    *text = ms_malloc(n + 1);
    memcpy(*text, bytes, n);
    (*text)[n] = '\0';
}

/* Members of other sizes would be read wrongly. */
static bool
unpack_field(const struct pack_field *field, void *of, const char *bytes, size_t n)
{
    char *at = (char *)of + field->at;

    if (field->size == 0)
        unpack_text((char **)(void *)at, bytes, n);
    else if (field->size == n)
        memcpy(at, bytes, n);
    else
        return field->is_own;
    return true;
}

static bool
unpack_member(const struct pack_field *fields, size_t count, void *of, const char *name,
              const char *bytes, size_t n)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, name) == 0)
            return unpack_field(&fields[i], of, bytes, n);
    return true;
}

/* The option of that name, most often the last one or the one behind it; OPTION_COUNT: there is
 * none. */
static size_t
unpack_option(const char *name, size_t last)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t id = (last + i) % OPTION_COUNT;

        if (strcmp(config_options[id].name, name) == 0)
            return id;
    }
    return OPTION_COUNT;
}

static bool
unpack_of_listener(struct listener_config *l, const struct pack_head *head, const char *name,
                   const char *bytes, size_t *option)
{
    size_t id;

    if (head->kind == PACK_MEMBER)
        return unpack_member(listener_fields, MS_ARRAY_LEN(listener_fields), l, name, bytes,
                             head->len);
    id = unpack_option(name, *option);
    if (id == OPTION_COUNT)
        return true;
    *option = id;
    if (head->kind == PACK_TEXT)
        unpack_text(&l->text[id], bytes, head->len);
    else if (head->len == sizeof(l->number[id]))
        memcpy(&l->number[id], bytes, head->len);
    return true;
}

/* The next record. *option: the last one that was found. */
static bool
unpack_record(struct config *config, const char **from, size_t *left, size_t *option)
{
    const char *bytes = unpack_bytes(from, left, sizeof(struct pack_head)), *text;
    char name[UINT8_MAX + 1] = "";
    struct pack_head head;

    if (bytes == NULL)
        return false;
    memcpy(&head, bytes, sizeof(head));
    text = unpack_bytes(from, left, head.name_len);
    bytes = unpack_bytes(from, left, head.len);
    if (text == NULL || bytes == NULL || head.row > PACK_RELAY)
        return false;
    memcpy(name, text, head.name_len);
    if (head.row == 0)
        return unpack_member(config_fields, MS_ARRAY_LEN(config_fields), config, name, bytes,
                             head.len);
    return unpack_of_listener(head.row == PACK_RELAY ? &config->relay
                                                     : &config->listeners[head.row - 1],
                              &head, name, bytes, option);
}

struct config *
config_unpack(const void *bytes, size_t n)
{
    struct config *config = ms_calloc(1, sizeof(*config));
    const char *from = bytes, *first = unpack_bytes(&from, &n, 2 * sizeof(uint32_t));
    uint32_t numbers[2] = {0};
    size_t option = 0;
    bool whole = first != NULL;

    if (whole)
        memcpy(numbers, first, sizeof(numbers));
    buffer_append(&config->as_read, from, n);
    config->workers = numbers[0];
    config->workers_set = numbers[1] != 0;
    while (whole && n > 0)
        whole = unpack_record(config, &from, &n, &option);
    if (config->listener_count > CONFIG_LISTENERS_MAX)
        config->listener_count = 0, whole = false;
    for (size_t i = 0; i < config->listener_count; i++)
        whole = whole && config->listeners[i].name != NULL && config->listeners[i].proto != NULL &&
                config->listeners[i].handler != NULL;
    if (whole && config->listener_count > 0 && config->data_dir != NULL &&
        config->runtime_dir != NULL)
        return config;
    config_destroy(config);
    return NULL;
}

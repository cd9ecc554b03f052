/* The public ways to send: each makes one outgoing message of what it is given and delivers it. */
#include "client/deliver.h"

#include <stdlib.h>
#include <string.h>

/* The id of this message becomes the last one: the caller's, a random one, or none. */
static void
send_choose_id(struct msock *m)
{
    uint8_t random[HANDLE_AUTO_ID / 2];

    if (m->next_id_len > 0) {
        memcpy(m->last_id, m->next_id, m->next_id_len);
        m->last_id_len = m->next_id_len;
        m->last_id[m->last_id_len] = '\0';
        m->next_id_len = 0;
    } else if (m->auto_id) {
        handle_random(random, sizeof(random));
        digest_hex(random, sizeof(random), m->last_id);
        m->last_id_len = HANDLE_AUTO_ID;
    }
}

static void
send_begin(struct msock *m)
{
    handle_begin(m);
    handle_drop_reply(m);
    m->last_id_len = 0;
    m->last_id[0] = '\0';
}

static enum msock_status
send_bytes(struct msock *m, char kind, const void *data, size_t n)
{
    struct outgoing out = {.kind = kind};
    enum msock_status status;
    void *changed = NULL;
    size_t changed_len = 0;

    send_choose_id(m);
    out.value = m->last_id;
    out.value_len = m->last_id_len;
    source_memory(&out.source, data, n);
    if (m->transform != NULL) {
        int rc = m->transform(m->transform_arg, data, n, &changed, &changed_len);

        if (rc != 0)
            return handle_fail(m, MSOCK_LOCAL, "the transform has failed (%d)", rc);
        if (changed == NULL && changed_len > 0)
            return handle_fail(m, MSOCK_LOCAL, "the transform has returned no bytes");
        source_memory(&out.source, changed, changed_len);
    }
    status = deliver(m, &out);
    free(changed);
    return status;
}

enum msock_status
msock_send(msock *m, const void *data, size_t n)
{
    send_begin(m);
    if (data == NULL && n > 0)
        return handle_fail(m, MSOCK_USAGE, "there is no message");
    return send_bytes(m, 'A', data, n);
}

enum msock_status
msock_send_json_text(msock *m, const char *text, size_t n)
{
    send_begin(m);
    if (text == NULL)
        return handle_fail(m, MSOCK_USAGE, "there is no JSON document");
    return send_bytes(m, 'J', text, n);
}

enum msock_status
msock_send_json(msock *m, const json_t *value)
{
    json_malloc_t get;
    json_free_t release;
    enum msock_status status;
    char *text;

    send_begin(m);
    if (value == NULL)
        return handle_fail(m, MSOCK_USAGE, "there is no JSON document");
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL)
        return handle_fail(m, MSOCK_LOCAL, "the value cannot be written as JSON");
    status = send_bytes(m, 'J', text, strlen(text));
    /* The host program may have given jansson an allocator of its own. */
    json_get_alloc_funcs(&get, &release);
    release(text);
    return status;
}

static const char *
send_remote_path(const char *local_path, const char *remote_path)
{
    const char *slash;

    if (remote_path != NULL)
        return remote_path;
    slash = strrchr(local_path, '/');
    return slash != NULL ? slash + 1 : local_path;
}

enum msock_status
msock_send_file(msock *m, const char *local_path, const char *remote_path)
{
    struct outgoing out = {.kind = 'F'};
    enum msock_status status;

    send_begin(m);
    if (local_path == NULL)
        return handle_fail(m, MSOCK_USAGE, "there is no file");
    out.value = send_remote_path(local_path, remote_path);
    out.value_len = strlen(out.value);
    if (out.value_len == 0 || out.value_len > HANDLE_VALUE_MAX)
        return handle_fail(m, MSOCK_USAGE, "the path on the server has 1 to %d bytes",
                           HANDLE_VALUE_MAX);
    if (source_open(&out.source, local_path) < 0)
        return handle_fail_errno(m, MSOCK_LOCAL, "%s cannot be sent", local_path);
    status = deliver(m, &out);
    source_close(&out.source);
    return status;
}

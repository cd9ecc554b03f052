/* The public ways to send: each makes one outgoing message of what it is given and delivers it. */
#include "client/handle.h"

#include "common/fd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Messages sent ahead are reported first: nothing overtakes them. */
static void
send_begin(struct msock *m)
{
    m->waiter.is_ended = false;
    (void)!ahead_finish(m);
    handle_begin(m);
    handle_drop_reply(m);
    handle_drop_id(m);
}

/* The protocol sends a message from where it is, of any size. */
static bool
send_streams(const struct msock *m)
{
    return m->at.ops->send != NULL;
}

/* Sends bytes that are what they will be. */
static enum msock_status
send_plain(struct msock *m, struct outgoing *out, const void *data, size_t n)
{
    if (!send_streams(m) && n > PEER_MESSAGE_MAX)
        return handle_fail(m, MSOCK_USAGE, "over %s a message has at most %d MiB", m->at.ops->name,
                           (int)(PEER_MESSAGE_MAX >> 20));
    out->data = n > 0 ? data : (const void *)"";
    out->size = n;
    return deliver(m, out);
}

/* The transforms are applied here, once a message and not once an attempt. */
static enum msock_status
send_changed(struct msock *m, struct outgoing *out, const void *data, size_t n)
{
    enum msock_status status;
    struct seal_about about;
    void *changed;

    if (m->transforms.count == 0)
        return send_plain(m, out, data, n);
    about = handle_about(m, out);
    if (transforms_send(&m->transforms, &about, data, n, &changed, &n) < 0)
        return handle_fail(m, MSOCK_LOCAL, "a transform has failed: nothing was sent");
    status = send_plain(m, out, changed, n);
    free(changed);
    return status;
}

static enum msock_status
send_bytes(struct msock *m, char kind, const void *data, size_t n)
{
    struct outgoing out = {.kind = kind};

    handle_choose_id(m);
    out.value = m->last_id;
    out.value_len = m->last_id_len;
    return send_changed(m, &out, data, n);
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

struct json_text {
    struct buffer bytes;
    bool failed; /* jansson goes on after a key that could not be written */
};

static int
json_text_add(const char *part, size_t n, void *arg)
{
    struct json_text *text = arg;
    size_t len = text->bytes.len;

    if (!text->failed && n <= PEER_MESSAGE_MAX - len)
        buffer_append(&text->bytes, part, n);
    text->failed |= text->bytes.len != len + n;
    return text->failed ? -1 : 0;
}

enum msock_status
msock_send_json(msock *m, const json_t *value)
{
    struct json_text text = {.failed = false};
    enum msock_status status;

    send_begin(m);
    if (value == NULL)
        return handle_fail(m, MSOCK_USAGE, "there is no JSON document");
    if (json_dump_callback(value, json_text_add, &text, JSON_COMPACT | JSON_ENCODE_ANY) < 0 ||
        text.failed)
        status = handle_fail(m, MSOCK_LOCAL, "the value cannot be written as JSON");
    else
        status = send_bytes(m, 'J', buffer_bytes(&text.bytes), text.bytes.len);
    buffer_fini(&text.bytes);
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

/* A file that cannot be streamed: it is read into memory, to be transformed or sent as a
 * message. */
static enum msock_status
send_file_whole(struct msock *m, struct outgoing *out, struct source *file, const char *local_path)
{
    enum msock_status status;
    uint8_t *data;

    if (file->size > PEER_MESSAGE_MAX)
        return handle_fail(m, MSOCK_USAGE,
                           "%s is over %d MiB and can only be sent over msp and"
                           " without transforms",
                           local_path, (int)(PEER_MESSAGE_MAX >> 20));
    if (source_read(file, &data) < 0)
        return handle_fail_errno(m, MSOCK_LOCAL, "%s cannot be read", local_path);
    status = send_changed(m, out, data, file->size);
    free(data);
    return status;
}

/* Sends a file under a path that was checked. */
static enum msock_status
send_source(struct msock *m, struct source *file, const char *local_path, const char *remote_path)
{
    struct outgoing out = {.kind = 'F', .value = remote_path, .value_len = strlen(remote_path)};

    if (!send_streams(m) || m->transforms.count > 0)
        return send_file_whole(m, &out, file, local_path);
    source_attach(file, &out);
    return deliver(m, &out);
}

/* A protocol that carries no path is given any. */
static enum msock_status
send_check_path(struct msock *m, const char *remote_path)
{
    size_t n = remote_path != NULL ? strlen(remote_path) : 0;
    const char *reason;

    if (remote_path == NULL || n > HANDLE_VALUE_MAX)
        return handle_fail(m, MSOCK_USAGE, "the path on the server has 1 to %d bytes",
                           HANDLE_VALUE_MAX);
    reason = m->peer->ops->repeatable ? path_check(remote_path, n) : NULL;
    return reason == NULL ? MSOCK_OK : handle_fail_unsent(m, "bad-path", reason);
}

static enum msock_status
send_no_copy(struct msock *m)
{
    handle_fail_errno(m, MSOCK_LOCAL,
                      "the temporary file in %s, for input that does not tell its size, cannot be"
                      " written",
                      fd_scratch_dir());
    snprintf(m->code, sizeof(m->code), "no-temporary");
    return MSOCK_LOCAL;
}

enum msock_status
msock_send_file(msock *m, const char *local_path, const char *remote_path)
{
    enum msock_status status;
    struct source file;
    int rc;

    send_begin(m);
    if (local_path == NULL)
        return handle_fail(m, MSOCK_USAGE, "there is no file");
    if (source_is_directory(local_path)) {
        errno = EISDIR;
        return handle_fail_errno(m, MSOCK_LOCAL, "%s cannot be sent", local_path);
    }
    remote_path = send_remote_path(local_path, remote_path);
    status = send_check_path(m, remote_path);
    if (status != MSOCK_OK)
        return status;
    rc = source_open(&file, local_path, &m->waiter);
    if (rc == SOURCE_NO_COPY)
        return send_no_copy(m);
    if (rc < 0) {
        if (errno == ECANCELED)
            return handle_fail_ended(m);
        if (errno == ENXIO)
            return handle_fail(m, MSOCK_LOCAL,
                               "%s cannot be sent: a device may have no end; give its bytes "
                               "on standard input, or as an open descriptor",
                               local_path);
        if (errno == ENOTSUP)
            return handle_fail(m, MSOCK_LOCAL, "%s cannot be sent: it is a socket", local_path);
        return handle_fail_errno(m, MSOCK_LOCAL, "%s cannot be sent", local_path);
    }
    status = send_source(m, &file, local_path, remote_path);
    source_close(&file);
    return status;
}

enum msock_status
msock_send_fd(msock *m, int fd, const char *remote_path)
{
    enum msock_status status;
    struct source file;
    int rc;

    send_begin(m);
    status = send_check_path(m, remote_path);
    if (status != MSOCK_OK)
        return status;
    rc = source_take(&file, fd, &m->waiter);
    if (rc == SOURCE_NO_COPY)
        return send_no_copy(m);
    if (rc < 0 && errno == ECANCELED)
        return handle_fail_ended(m);
    if (rc < 0)
        return handle_fail_errno(m, MSOCK_LOCAL, "what is to be sent cannot be read");
    status = send_source(m, &file, "the input", remote_path);
    source_close(&file);
    return status;
}

/* A chat server as a module for msockd: lines go to everybody else, in whichever worker they are.
 *     cc -shared -fPIC -o chat.so chat.c
 *     msockd -w 4 -l 'tinyproto://127.0.0.1:9123?handler=module&path=./chat.so'
 *     msock -u tinyproto://127.0.0.1:9123 chat
 * "/nick NAME" changes one's name. It is kept with the connection, so nobody notices a reload. */
#include <msock_module.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX 4096
#define NAME_MAX 64

static int
chat_start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    (void)error;
    (void)error_len;
    *state_out = (void *)host; /* all that is needed */
    return 0;
}

static int
chat_say(const struct msock_module_host *host, struct msock_module_conn *from, const char *does,
         const char *what)
{
    char said[LINE_MAX + 2 * NAME_MAX];
    const char *name = host->kept(host->ctx, from, NULL);

    snprintf(said, sizeof(said), "%s%s%s", name != NULL ? name : "somebody", does, what);
    return host->broadcast(host->ctx, from, said, strlen(said));
}

static void
chat_open(void *state, struct msock_module_conn *conn, int moved)
{
    const struct msock_module_host *host = state;
    struct msock_module_peer peer;

    if (moved)
        return; /* with its name */
    host->peer(host->ctx, conn, &peer);
    host->keep(host->ctx, conn, peer.address, strnlen(peer.address, NAME_MAX - 1));
    chat_say(host, conn, " joined", "");
}

static void
chat_close(void *state, struct msock_module_conn *conn, int moved)
{
    if (!moved)
        chat_say(state, conn, " left", "");
}

/* Returns NULL, or why nobody heard it. */
static const char *
chat_line(const struct msock_module_host *host, struct msock_module_conn *conn, const char *line)
{
    const char *name = strncmp(line, "/nick ", 6) == 0 ? line + 6 : NULL;

    if (name != NULL && (name[0] == '\0' || strlen(name) >= NAME_MAX || strchr(name, ' ') != NULL))
        return "a name has 1 to 63 bytes and no spaces";
    if (chat_say(host, conn, name != NULL ? " is now " : ": ", name != NULL ? name : line) < 0)
        return "busy; say it again";
    if (name != NULL)
        host->keep(host->ctx, conn, name, strlen(name));
    return NULL;
}

static enum msock_module_result
chat_message(void *state, const struct msock_module_message *m)
{
    const struct msock_module_host *host = state;
    char line[LINE_MAX + 1] = "";
    const char *trouble;
    size_t n = 0;

    for (const unsigned char *c = m->data; n < m->size && n < LINE_MAX; n++, c++)
        line[n] = (char)(*c < ' ' || *c == 0x7f ? ' ' : *c); /* nothing that moves a cursor */
    while (n > 0 && line[n - 1] == ' ')
        line[--n] = '\0';
    if (n == 0 || m->conn == NULL)
        return MSOCK_MODULE_COMMIT;
    trouble = m->size > LINE_MAX ? "a line is too long" : chat_line(host, m->conn, line);
    if (trouble == NULL || host->push(host->ctx, m->conn, trouble, strlen(trouble)) == 0)
        return MSOCK_MODULE_COMMIT;
    host->why(host->ctx, m->token, trouble);
    return MSOCK_MODULE_REFUSE; /* msp cannot be told otherwise */
}

const struct msock_module msock_module = {
    .abi = MSOCK_MODULE_ABI,
    .size = sizeof(msock_module),
    .name = "chat",
    .flags = MSOCK_MODULE_MOVABLE,
    .start = chat_start,
    .conn_open = chat_open,
    .conn_close = chat_close,
    .message = chat_message,
};

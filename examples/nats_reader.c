/* Reads a stream that msockd's handler=nats has filled: puts together what came in chunks, checks
 * each body against its SHA-256, and writes it to a file of a directory, named after its number.
 *
 *     cc -o nats_reader nats_reader.c -lnats -ljansson -lcrypto
 *     ./nats_reader nats://127.0.0.1:4222 STREAM DIRECTORY
 *
 * One line a message: its number, kind, size, and the id or path. What is not whole is said on
 * standard error, and the exit status is 1 then. */
#include <jansson.h>
#include <nats/nats.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    jsCtx *js;
    const char *stream;
    const char *directory;
    bool failed;
};

/* A body on its way into its file. */
struct body {
    FILE *file;
    EVP_MD_CTX *digest;
    unsigned long long size;
};

static void
complain(struct reader *r, uint64_t seq, const char *what)
{
    fprintf(stderr, "%llu: %s\n", (unsigned long long)seq, what);
    r->failed = true;
}

static const char *
header(natsMsg *msg, const char *name)
{
    const char *value = NULL;

    return natsMsgHeader_Get(msg, name, &value) == NATS_OK ? value : "";
}

static bool
body_open(struct body *b, const char *path)
{
    *b = (struct body){.file = fopen(path, "wb"), .digest = EVP_MD_CTX_new()};
    return b->file != NULL && b->digest != NULL &&
           EVP_DigestInit_ex(b->digest, EVP_sha256(), NULL) == 1;
}

static bool
body_add(struct body *b, natsMsg *msg)
{
    size_t n = (size_t)natsMsg_GetDataLength(msg);

    b->size += n;
    return fwrite(natsMsg_GetData(msg), 1, n, b->file) == n &&
           EVP_DigestUpdate(b->digest, natsMsg_GetData(msg), n) == 1;
}

/* Ends it. Returns whether size and SHA-256 are those of the headers. */
static bool
body_close(struct body *b, natsMsg *msg)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    unsigned n = 0;
    bool written = b->file != NULL && fclose(b->file) == 0;

    if (b->digest != NULL && EVP_DigestFinal_ex(b->digest, sum, &n) == 1)
        for (unsigned i = 0; i < n; i++)
            snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    EVP_MD_CTX_free(b->digest);
    return written && strcmp(hex, header(msg, "Msock-SHA256")) == 0 &&
           b->size == strtoull(header(msg, "Msock-Size"), NULL, 10);
}

/* Fetches the chunks that the manifest names. Returns NULL, or what is wrong. */
static const char *
add_chunks(struct reader *r, struct body *b, natsMsg *manifest)
{
    json_t *root =
        json_loadb(natsMsg_GetData(manifest), (size_t)natsMsg_GetDataLength(manifest), 0, NULL);
    const char *wrong = json_is_object(root) ? NULL : "the manifest cannot be read";
    const json_t *seq;
    size_t i;

    json_array_foreach(json_object_get(root, "seqs"), i, seq)
    {
        natsMsg *chunk = NULL;

        if (wrong != NULL)
            break;
        if (js_GetMsg(&chunk, r->js, r->stream, (uint64_t)json_integer_value(seq), NULL, NULL) !=
            NATS_OK)
            wrong = "a chunk is missing";
        else if (header(chunk, "Msock-Chunk")[0] == '\0')
            wrong = "a message that is none stands in the place of a chunk";
        else if (!body_add(b, chunk))
            wrong = "a chunk cannot be written";
        natsMsg_Destroy(chunk);
    }
    json_decref(root);
    return wrong;
}

static void
take(struct reader *r, uint64_t seq, natsMsg *msg)
{
    const char *wrong = NULL, *path = header(msg, "Msock-Path");
    char name[4096];
    struct body b;

    snprintf(name, sizeof(name), "%s/%llu", r->directory, (unsigned long long)seq);
    if (!body_open(&b, name))
        wrong = "its file cannot be written";
    else if (header(msg, "Msock-Chunks")[0] != '\0')
        wrong = add_chunks(r, &b, msg);
    else if (!body_add(&b, msg))
        wrong = "its file cannot be written";
    if (!body_close(&b, msg) && wrong == NULL)
        wrong = "size or SHA-256 is not what the headers say";
    if (wrong != NULL) {
        complain(r, seq, wrong);
        remove(name);
        return;
    }
    printf("%llu %s %s %s\n", (unsigned long long)seq, header(msg, "Msock-Kind"),
           header(msg, "Msock-Size"), path[0] != '\0' ? path : header(msg, "Msock-Key"));
}

/* Chunks are passed over: the manifest comes behind them, or never, where the message was not
 * committed. */
static void
read_all(struct reader *r, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++) {
        natsMsg *msg = NULL;

        if (js_GetMsg(&msg, r->js, r->stream, seq, NULL, NULL) != NATS_OK)
            continue; /* removed */
        if (header(msg, "Msock-Chunk")[0] == '\0')
            take(r, seq, msg);
        natsMsg_Destroy(msg);
    }
}

int
main(int argc, char **argv)
{
    struct reader r = {.stream = argc > 2 ? argv[2] : "", .directory = argc > 3 ? argv[3] : "."};
    natsConnection *nc = NULL;
    jsStreamInfo *info = NULL;
    natsStatus s;

    if (argc < 3) {
        fprintf(stderr, "usage: nats_reader URL STREAM [DIRECTORY]\n");
        return 64;
    }
    s = natsConnection_ConnectTo(&nc, argv[1]);
    if (s == NATS_OK)
        s = natsConnection_JetStream(&r.js, nc, NULL);
    if (s == NATS_OK)
        s = js_GetStreamInfo(&info, r.js, r.stream, NULL, NULL);
    if (s == NATS_OK)
        read_all(&r, info->State.FirstSeq, info->State.LastSeq);
    else
        fprintf(stderr, "%s: %s\n", r.stream, natsStatus_GetText(s));
    jsStreamInfo_Destroy(info);
    jsCtx_Destroy(r.js);
    natsConnection_Destroy(nc);
    nats_Close();
    return s != NATS_OK || r.failed || fflush(stdout) != 0;
}

/* Who may ask. A hash is meant to cost time, and there is one thread: a pair that was right is
 * known again without it, and wrong ones are tried at most five times a second. */
#include "serve.h"

#include "common/fd.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_MAX  ((size_t)1 << 20)
#define KNOWN_MAX 16
#define PAUSE_US  200000

struct pair {
    char *user, *secret; /* the hash, or the password */
};

struct passwords {
    struct pair *pairs;
    size_t count;
    struct pair known[KNOWN_MAX]; /* that were right lately */
    size_t known_next;
    uint64_t tried_us; /* when a wrong one was tried */
};

static void
pair_set(struct pair *pair, const char *user, const char *secret)
{
    free(pair->user);
    free(pair->secret);
    *pair = (struct pair){ms_strdup(user), ms_strdup(secret)};
}

/* A line without its newline. False where it is none of ours, or a hash that is broken in no time.
 */
static bool
passwords_line(struct passwords *p, char *line)
{
    char *colon = strchr(line, ':');

    line[strcspn(line, "\r")] = '\0';
    if (line[0] == '\0' || line[0] == '#')
        return true;
    if (colon == NULL || colon == line || colon[1] == '\0')
        return false;
    *colon = '\0';
    if (crypt_checksalt(colon + 1) != CRYPT_SALT_OK)
        return false;
    p->pairs = realloc(p->pairs, (p->count + 1) * sizeof(p->pairs[0]));
    MS_ASSERT(p->pairs != NULL);
    p->pairs[p->count] = (struct pair){0};
    pair_set(&p->pairs[p->count++], line, colon + 1);
    return true;
}

static bool
passwords_read(const struct ctl *ctl, struct passwords *p, const char *path, char *text)
{
    unsigned number = 0;
    char *line;

    while ((line = strsep(&text, "\n")) != NULL) {
        number++;
        if (passwords_line(p, line))
            continue;
        ctl_error(ctl, "%s, line %u: expected USER:HASH, as htpasswd -nB USER prints it", path,
                  number);
        return false;
    }
    if (p->count == 0)
        ctl_error(ctl, "%s names nobody", path);
    return p->count > 0;
}

struct passwords *
passwords_open(const struct ctl *ctl, const char *path)
{
    struct passwords *p = ms_calloc(1, sizeof(*p));
    struct stat st;
    char *text;
    size_t len;
    bool read;

    if (stat(path, &st) < 0 || fd_read_file(path, FILE_MAX, &text, &len) < 0) {
        ctl_error(ctl, "cannot read %s: %s", path, strerror(errno));
        free(p);
        return NULL;
    }
    read = (st.st_mode & S_IRWXO) == 0 && passwords_read(ctl, p, path, text);
    if ((st.st_mode & S_IRWXO) != 0)
        ctl_error(ctl, "everybody may read %s: chmod 640 %s", path, path);
    free(text);
    if (read)
        return p;
    passwords_close(p);
    return NULL;
}

void
passwords_close(struct passwords *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->count + KNOWN_MAX; i++) {
        struct pair *pair = i < p->count ? &p->pairs[i] : &p->known[i - p->count];

        free(pair->user);
        free(pair->secret);
    }
    free(p->pairs);
    free(p);
}

static bool
same(const char *a, const char *b)
{
    const size_t n = strlen(a);

    return n == strlen(b) && CRYPTO_memcmp(a, b, n) == 0;
}

static bool
passwords_known(const struct passwords *p, const char *user, const char *password)
{
    for (size_t i = 0; i < KNOWN_MAX; i++)
        if (p->known[i].user != NULL && same(p->known[i].user, user) &&
            same(p->known[i].secret, password))
            return true;
    return false;
}

/* One hash is made for whatever user, so that the time does not tell which there are. */
static bool
passwords_right(const struct passwords *p, const char *user, const char *password)
{
    struct crypt_data *data = ms_calloc(1, sizeof(*data));
    const struct pair *pair = NULL;
    const char *hash;
    bool right;

    for (size_t i = 0; i < p->count && pair == NULL; i++)
        if (strcmp(p->pairs[i].user, user) == 0)
            pair = &p->pairs[i];
    hash = crypt_r(password, (pair != NULL ? pair : p->pairs)->secret, data);
    right = pair != NULL && hash != NULL && hash[0] != '*' && same(hash, pair->secret);
    free(data);
    return right;
}

enum passwords_verdict
passwords_check(struct passwords *p, const char *user, const char *password)
{
    if (passwords_known(p, user, password))
        return PASSWORDS_YES;
    if (p->tried_us != 0 && clock_mono_us() < p->tried_us + PAUSE_US)
        return PASSWORDS_LATER;
    if (passwords_right(p, user, password)) {
        pair_set(&p->known[p->known_next++ % KNOWN_MAX], user, password);
        return PASSWORDS_YES;
    }
    p->tried_us = clock_mono_us();
    return PASSWORDS_NO;
}

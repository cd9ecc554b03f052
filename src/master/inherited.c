/* Invariant: both programs have the same structs, which the file says before anything else. Only
 * the configuration has a form of its own (config_pack.c), and lists of names may be longer on one
 * side: an option or a counter more is no other layout. */
#include "master/inherited.h"

#include "common/fd.h"
#include "common/kernel.h"
#include "common/text.h"
#include "dedup/table.h"
#include "sources/table.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define UPGRADE_MAGIC  0x6d736f636b757032ull /* "msockup2" */
#define UPGRADE_LAYOUT 3u /* raise it where the meaning of what is inherited changes */

/* X(what, number): each must be the same on both sides. */
#define LAYOUTS(X)                                                     \
    X("what a master inherits", UPGRADE_MAGIC)                         \
    X("what a master inherits", UPGRADE_LAYOUT)                        \
    X("what a master inherits", sizeof(struct inherited))              \
    X("what a master knows of its workers", sizeof(struct process))    \
    X("what a master knows of its workers", sizeof(struct generation)) \
    X("what a master knows of its sockets", sizeof(struct listener))   \
    X("what a worker inherits", child_inherited_size())                \
    X("the statistics", STATS_VERSION)                                 \
    X("the statistics", sizeof(struct stats_control))                  \
    X("the statistics", STATS_FILE_SIZE)                               \
    X("the remembered ids", DEDUP_VERSION)                             \
    X("what is known of sources", SOURCES_VERSION)                     \
    X("what is known of sources", sizeof(struct sources_region))       \
    X("the bus between the workers", BUS_VERSION)

#define LAYOUT_WHAT(what, number)   what,
#define LAYOUT_NUMBER(what, number) number,

/* Lists whose places are numbers in shared memory. One may go on where the other one ends. */
#define NAME_8(name, help) #name ":8", /* of so many bytes, for one connection */
#define NAME_4(name, help) #name ":4",
static const char *const conn_names[] = {STATS_CONN_LIST(NAME_8, NAME_4, NAME_8) NULL};
static const char *const worker_names[] = {STATS_WORKER_COUNTERS(NAME_8) NULL};

static const struct {
    const char *what;
    const char *const *names;
} inherited_lists[] = {{"the counters of a connection", conn_names},
                       {"the counters of a worker", worker_names},
                       {"the protocols", proto_names}};

/* --- descriptors --- */

int
inherited_keep_one(int fd, bool keep)
{
    return fd <= STDERR_FILENO ? 0 : fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

int
inherited_keep_memory(const struct inherited *in, bool keep)
{
    const struct master *m = &in->master;
    const int fds[] = {in->log.fd,
                       in->dedup.fd,
                       in->sources.regions.fd,
                       in->sources.regions.read_fd,
                       m->id_clock_fd,
                       m->next_program_fd,
                       m->stats.control_ro_fd,
                       m->stats.loads.fd,
                       m->stats.loads.read_fd};
    int rc = 0;

    for (size_t i = 0; i < MS_ARRAY_LEN(fds); i++)
        rc |= inherited_keep_one(fds[i], keep);
    return rc;
}

/* Of those that drain there are none. */
static int
keep_generation(const struct generation *g, bool keep)
{
    int rc = 0;

    for (size_t i = 0; g != NULL && i < g->socket_count; i++)
        rc |= inherited_keep_one(g->sockets[i].socket->socket.fd, keep);
    for (size_t i = 0; g != NULL && i < g->worker_count; i++)
        if (g->workers[i].ready_fd >= 0)
            rc |= inherited_keep_one(g->workers[i].ready_fd, keep);
    return rc;
}

int
inherited_keep(const struct inherited *in, bool keep)
{
    const struct master *m = &in->master;
    const int fds[] = {m->run.fd,       m->run.lock_fd,     m->run.pid_fd,      m->death_fds[0],
                       m->death_fds[1], m->bus.memory_fd,   m->bus.read_fd,     m->bus.bell_fd,
                       m->accept_bell,  m->handover_fds[0], m->handover_fds[1], m->stats.dir_fd,
                       m->program_fd};
    int rc = inherited_keep_memory(in, keep);

    for (size_t i = 0; i < MS_ARRAY_LEN(fds); i++)
        rc |= inherited_keep_one(fds[i], keep);
    for (size_t i = 0; i < STATS_REGIONS; i++)
        rc |= inherited_keep_one(m->stats.region_fds[i], keep);
    for (const struct listener *l = m->retired; l != NULL; l = l->next)
        rc |= inherited_keep_one(l->socket.fd, keep);
    return rc | keep_generation(m->current, keep) | keep_generation(m->pending, keep);
}

/* --- writing --- */

static void
put_text(struct buffer *out, const char *text)
{
    uint32_t n = text != NULL ? (uint32_t)strlen(text) + 1 : 0;

    buffer_append(out, &n, sizeof(n));
    buffer_append(out, text != NULL ? text : "", n);
}

static void
put_layout(struct buffer *out)
{
    const uint64_t layout[] = {LAYOUTS(LAYOUT_NUMBER)};

    buffer_append(out, layout, sizeof(layout));
    for (size_t i = 0; i < MS_ARRAY_LEN(inherited_lists); i++) {
        const char *const *name = inherited_lists[i].names;

        do
            put_text(out, *name);
        while (*name++ != NULL);
    }
}

static void
put_listener(struct buffer *out, const struct listener *l)
{
    buffer_append(out, l, sizeof(*l));
    put_text(out, l->name);
}

/* One that drains has let go of its sockets. */
static void
put_generation(struct buffer *out, const struct generation *g)
{
    struct buffer config;
    uint32_t n;

    buffer_init(&config);
    config_pack(g->config, &config);
    n = config.len;
    buffer_append(out, g, sizeof(*g));
    buffer_append(out, g->workers, g->worker_count * sizeof(g->workers[0]));
    buffer_append(out, &n, sizeof(n));
    buffer_append(out, buffer_bytes(&config), n);
    for (size_t i = 0; i < g->socket_count; i++)
        put_listener(out, g->sockets[i].socket);
    buffer_fini(&config);
}

void
inherited_fill(const struct master *m, struct inherited *in)
{
    *in = (struct inherited){.master = *m, .generations = 1, .has_cwd = m->hooks->cwd != NULL};
    in->packet = handover_meaning(NULL);
    if (in->has_cwd)
        snprintf(in->cwd, sizeof(in->cwd), "%s", m->hooks->cwd);
    log_tell(&in->log);
    environment_tell(&in->environment);
    dedup_table_place(m->dedup, &in->dedup);
    sources_table_place(m->sources, &in->sources);
    for (const struct generation *g = m->old; g != NULL; g = g->next)
        in->generations++;
    for (const struct listener *l = m->retired; l != NULL; l = l->next)
        in->retired++;
}

int
inherited_write(const struct master *m, const struct inherited *in)
{
    int fd = kernel_memory_file("msockd-upgrade");
    struct buffer out;
    bool written;

    buffer_init(&out);
    put_layout(&out);
    buffer_append(&out, in, sizeof(*in));
    put_text(&out, m->run.path);
    put_text(&out, m->log_file);
    put_generation(&out, m->current);
    for (const struct generation *g = m->old; g != NULL; g = g->next)
        put_generation(&out, g);
    for (const struct listener *l = m->retired; l != NULL; l = l->next)
        put_listener(&out, l);
    if (m->pending != NULL)
        put_generation(&out, m->pending);
    written = fd >= 0 && fd_write_all(fd, buffer_bytes(&out), out.len) == 0 &&
              inherited_keep_one(fd, true) == 0;
    buffer_fini(&out);
    if (!written)
        fd_close(&fd);
    return fd;
}

/* --- reading --- */

struct cursor {
    const char *at;
    size_t left;
};

/* The next n bytes; NULL: there are no more. */
static const void *
get_bytes(struct cursor *c, size_t n)
{
    const char *at = c->at;

    if (c->left < n)
        return NULL;
    c->at += n;
    c->left -= n;
    return at;
}

static bool
get(struct cursor *c, void *out, size_t n)
{
    const void *at = get_bytes(c, n);

    if (at != NULL)
        memcpy(out, at, n);
    return at != NULL;
}

static bool
get_text(struct cursor *c, char **text_out)
{
    const char *text;
    uint32_t n;

    if (!get(c, &n, sizeof(n)) || (text = get_bytes(c, n)) == NULL)
        return false;
    *text_out = n > 0 ? ms_strdup(text) : NULL;
    return true;
}

static struct listener *
get_listener(struct cursor *c)
{
    struct listener *l = ms_calloc(1, sizeof(*l));

    if (!get(c, l, sizeof(*l)) || !get_text(c, &l->name)) {
        free(l);
        return NULL;
    }
    l->refs = 1;
    l->next = NULL;
    return l;
}

static bool
get_rest(struct cursor *c, struct generation *g)
{
    const void *config;
    uint32_t n;

    if (!get(c, g->workers, g->worker_count * sizeof(g->workers[0])) || !get(c, &n, sizeof(n)) ||
        (config = get_bytes(c, n)) == NULL || (g->config = config_unpack(config, n)) == NULL)
        return false;
    for (size_t i = 0; i < g->socket_count; i++)
        if ((g->sockets[i].socket = get_listener(c)) == NULL)
            return false;
    return true;
}

/* What is half read is left to the end of the process. */
static struct generation *
get_generation(struct cursor *c)
{
    struct generation head;
    struct generation *g;

    if (!get(c, &head, sizeof(head)) || head.worker_count > GENERATION_MAX)
        return NULL;
    g = ms_calloc(1, sizeof(*g) + head.worker_count * sizeof(g->workers[0]));
    *g = head;
    g->next = NULL;
    return get_rest(c, g) ? g : NULL;
}

/* The socket that g, of the file, has in common with a generation or the list; else its own. */
static void
share_socket(const struct master *m, struct generation_socket *s)
{
    struct listener *own = s->socket, *other = NULL;

    for (size_t i = 0; i < m->current->socket_count; i++)
        if (m->current->sockets[i].socket->socket.fd == own->socket.fd)
            other = m->current->sockets[i].socket;
    for (struct listener *l = m->retired; l != NULL; l = l->next)
        if (l->socket.fd == own->socket.fd)
            other = l;
    if (other == NULL)
        return;
    s->socket = listener_ref(other);
    free(own->name);
    free(own);
}

static bool
get_pending(struct cursor *c, struct master *m)
{
    m->pending = get_generation(c);
    for (size_t i = 0; m->pending != NULL && i < m->pending->socket_count; i++)
        share_socket(m, &m->pending->sockets[i]);
    return m->pending != NULL;
}

static bool
get_generations(struct cursor *c, struct inherited *in)
{
    struct master *m = &in->master;
    struct generation **old = &m->old;
    struct listener **retired = &m->retired;
    bool is_pending = m->pending != NULL;

    *old = NULL;
    *retired = NULL;
    m->pending = NULL;
    m->current = get_generation(c);
    for (uint32_t i = 1; i < in->generations; i++, old = &(*old)->next)
        if ((*old = get_generation(c)) == NULL)
            return false;
    for (uint32_t i = 0; i < in->retired; i++, retired = &(*retired)->next)
        if ((*retired = get_listener(c)) == NULL)
            return false;
    return m->current != NULL && (!is_pending || get_pending(c, m));
}

static bool
inherited_attach(struct inherited *in)
{
    struct master *m = &in->master;

    m->dedup = dedup_table_resume(&in->dedup);
    m->sources = sources_table_resume(&in->sources);
    m->id_offset_us = memory_attach(m->id_clock_fd, sizeof(*m->id_offset_us));
    return m->dedup != NULL && m->sources != NULL && m->id_offset_us != NULL &&
           stats_master_resume(&m->stats) == 0;
}

/* False where the two lists have different names in one place. Takes all of the other one's. */
static bool
get_list(struct cursor *c, const char *const *own)
{
    bool same = true;
    char *name;

    do {
        if (!get_text(c, &name))
            return false;
        same = same && (name == NULL || *own == NULL || strcmp(name, *own) == 0);
        own += *own != NULL;
        free(name);
    } while (name != NULL);
    return same;
}

/* Returns NULL, or of what the other program has another layout. */
static const char *
get_layout(struct cursor *c)
{
    static const char *const what[] = {LAYOUTS(LAYOUT_WHAT)};
    const uint64_t own[] = {LAYOUTS(LAYOUT_NUMBER)};
    uint64_t number;

    for (size_t i = 0; i < MS_ARRAY_LEN(own); i++)
        if (!get(c, &number, sizeof(number)) || number != own[i])
            return what[i];
    for (size_t i = 0; i < MS_ARRAY_LEN(inherited_lists); i++)
        if (!get_list(c, inherited_lists[i].names))
            return inherited_lists[i].what;
    return NULL;
}

/* Returns NULL, or what is wrong. */
static const char *
inherited_take(struct cursor *c, struct inherited *in)
{
    struct master *m = &in->master;
    static char other[128];
    const char *what = get_layout(c);

    if (what != NULL) {
        snprintf(other, sizeof(other),
                 "its version has another layout of %s: restart msockd for it", what);
        return other;
    }
    if (!get(c, in, sizeof(*in)) || !get_text(c, &m->run.path) || !get_text(c, &m->log_file) ||
        !get_generations(c, in))
        return "what it inherits is not whole";
    return inherited_attach(in) ? NULL : "it cannot map the memory that it inherits";
}

const char *
inherited_read(int fd, struct inherited *in)
{
    const char *wrong = "it cannot read what it inherits";
    struct stat st;
    struct cursor c;
    char *bytes;

    if (fstat(fd, &st) < 0)
        return wrong;
    c.left = (size_t)st.st_size;
    c.at = bytes = ms_malloc(c.left);
    if (fd_pread_all(fd, bytes, c.left, 0) == 0)
        wrong = inherited_take(&c, in);
    free(bytes);
    return wrong;
}

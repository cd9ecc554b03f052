/* The master becomes another version of its program, in its own place. What it knows goes over the
 * exec in a file in memory, as structs stand in memory; descriptors keep their numbers. Invariant:
 * both programs have the same structs, which the other one says before anything else is read. */
#include "master/state.h"

#include "common/environment.h"
#include "common/fd.h"
#include "common/kernel.h"
#include "common/text.h"
#include "sources/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* "4 -1": the descriptor of the file, and where a trial says how it went. */
#define UPGRADE_VARIABLE "MSOCKD_UPGRADE"
#define UPGRADE_LAYOUT   1u /* raise it where the meaning of what is inherited changes */

/* What must be the same on both sides: all that workers of both versions share, and all that is in
 * the file. */
static const uint64_t upgrade_layout[] = {
    0x6d736f636b757031ull, /* "msockup1" */
    UPGRADE_LAYOUT,
    STATS_VERSION,
    sizeof(struct master),
    sizeof(struct generation),
    sizeof(struct process),
    sizeof(struct listener),
    sizeof(struct config),
    sizeof(struct child),
    sizeof(struct stats_control),
    sizeof(struct stats_slot),
    sizeof(struct sources_region),
    OPTION_COUNT,
};

struct inherited {
    uint64_t layout[MS_ARRAY_LEN(upgrade_layout)];
    uint64_t packet; /* child_packet_size */
    struct master master;
    struct log_place log;
    struct environment_left environment;
    struct dedup_place dedup;
    struct sources_place sources;
    bool has_cwd;
    char cwd[PATH_MAX];
    uint32_t generations, retired;
};

struct upgrade {
    struct inherited in;
    int say_fd; /* of a trial; else -1 */
    const char *wrong;
};

/* --- descriptors --- */

static int
descriptor_keep(int fd, bool keep)
{
    return fd <= STDERR_FILENO ? 0 : fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

/* Those that a trial needs: no lock, no port, and nothing that hides the master's death. */
static int
descriptors_keep_memory(const struct inherited *in, bool keep)
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
        rc |= descriptor_keep(fds[i], keep);
    return rc;
}

static int
descriptors_keep(const struct inherited *in, bool keep)
{
    const struct master *m = &in->master;
    const int fds[] = {m->run.fd,          m->run.lock_fd,     m->run.pid_fd,  m->death_fds[0],
                       m->death_fds[1],    m->bus.memory_fd,   m->bus.bell_fd, m->accept_bell,
                       m->handover_fds[0], m->handover_fds[1], m->stats.dir_fd};
    int rc = descriptors_keep_memory(in, keep);

    for (size_t i = 0; i < MS_ARRAY_LEN(fds); i++)
        rc |= descriptor_keep(fds[i], keep);
    for (size_t i = 0; i < STATS_REGIONS; i++)
        rc |= descriptor_keep(m->stats.region_fds[i], keep);
    for (size_t i = 0; m->current != NULL && i < m->current->socket_count; i++)
        rc |= descriptor_keep(m->current->sockets[i].socket->socket.fd, keep);
    for (const struct listener *l = m->retired; l != NULL; l = l->next)
        rc |= descriptor_keep(l->socket.fd, keep);
    return rc;
}

/* --- before the exec --- */

static void
put_text(struct buffer *out, const char *text)
{
    uint32_t n = text != NULL ? (uint32_t)strlen(text) + 1 : 0;

    buffer_append(out, &n, sizeof(n));
    buffer_append(out, text != NULL ? text : "", n);
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

static void
inherited_fill(const struct master *m, struct inherited *in)
{
    *in = (struct inherited){.master = *m, .generations = 1, .has_cwd = m->hooks->cwd != NULL};
    memcpy(in->layout, upgrade_layout, sizeof(in->layout));
    in->packet = child_packet_size();
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

/* Returns the file, or -1 with errno. */
static int
inherited_write(const struct master *m, const struct inherited *in)
{
    int fd = kernel_memory_file("msockd-upgrade");
    struct buffer out;
    bool written;

    buffer_init(&out);
    buffer_append(&out, in, sizeof(*in));
    put_text(&out, m->run.path);
    put_text(&out, m->log_file);
    put_generation(&out, m->current);
    for (const struct generation *g = m->old; g != NULL; g = g->next)
        put_generation(&out, g);
    for (const struct listener *l = m->retired; l != NULL; l = l->next)
        put_listener(&out, l);
    written = fd >= 0 && fd_write_all(fd, buffer_bytes(&out), out.len) == 0 &&
              descriptor_keep(fd, true) == 0;
    buffer_fini(&out);
    if (!written)
        fd_close(&fd);
    return fd;
}

/* Returns only where it fails, with errno. */
static void
program_execute(const struct master *m, const struct inherited *in, int say_fd)
{
    int fd = inherited_write(m, in);
    char value[32];
    int saved;

    snprintf(value, sizeof(value), "%d %d", fd, say_fd);
    if (fd >= 0 && setenv(UPGRADE_VARIABLE, value, 1) == 0)
        (void)fexecve(m->next_program_fd, m->hooks->argv, environ);
    saved = errno;
    unsetenv(UPGRADE_VARIABLE);
    fd_close(&fd);
    errno = saved;
}

int
upgrade_begin(struct master *m, struct failure *why)
{
    if (m->hooks->argv == NULL || m->program_path[0] == '\0') {
        failure_set(why, EX_UNAVAILABLE, "it is not known which file to execute");
        return -1;
    }
    m->next_program_fd = open(m->program_path, O_PATH | O_CLOEXEC);
    if (m->next_program_fd >= 0)
        return 0;
    failure_set(why, EX_NOINPUT, "cannot open %s: %s", m->program_path, strerror(errno));
    return -1;
}

void
upgrade_end(struct master *m)
{
    m->upgrading = false;
    fd_close(&m->next_program_fd);
}

void
upgrade_read(struct master *m, int fd)
{
    static struct inherited in;
    char text[FAILURE_TEXT_LEN];

    inherited_fill(m, &in);
    if (descriptors_keep_memory(&in, true) == 0 && descriptor_keep(fd, true) == 0)
        program_execute(m, &in, fd);
    snprintf(text, sizeof(text), "%c%.400s cannot be executed: %s", READING_FAILED, m->program_path,
             strerror(errno));
    (void)!fd_write_all(fd, text, strlen(text));
    _exit(EX_OSERR);
}

void
upgrade_execute(struct master *m, struct failure *why)
{
    static struct inherited in;

    MS_ASSERT(m->pending == NULL);
    fd_close(&m->program_fd);
    m->program_fd = m->next_program_fd;
    inherited_fill(m, &in);
    if (descriptors_keep(&in, true) == 0)
        program_execute(m, &in, -1);
    failure_set(why, EX_OSERR,
                "the workers are of the new version, but the master could not be executed: %s",
                strerror(errno));
    (void)descriptors_keep(&in, false);
    m->next_program_fd = -1; /* it is program_fd now */
}

/* --- after it --- */

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

static bool
get_generations(struct cursor *c, struct inherited *in)
{
    struct master *m = &in->master;
    struct generation **old = &m->old;
    struct listener **retired = &m->retired;

    *old = NULL;
    *retired = NULL;
    m->current = get_generation(c);
    for (uint32_t i = 1; i < in->generations; i++, old = &(*old)->next)
        if ((*old = get_generation(c)) == NULL)
            return false;
    for (uint32_t i = 0; i < in->retired; i++, retired = &(*retired)->next)
        if ((*retired = get_listener(c)) == NULL)
            return false;
    return m->current != NULL;
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

/* Returns NULL, or what is wrong. */
static const char *
inherited_take(struct cursor *c, struct inherited *in)
{
    struct master *m = &in->master;

    static const char other[] =
        "its version has another layout of what is inherited: restart msockd for it";

    if (c->left < sizeof(*in) || memcmp(c->at, upgrade_layout, sizeof(in->layout)) != 0)
        return other;
    if (get(c, in, sizeof(*in)) && in->packet != child_packet_size())
        return other;
    if (!get_text(c, &m->run.path) || !get_text(c, &m->log_file) || !get_generations(c, in))
        return "what it inherits is not whole";
    return inherited_attach(in) ? NULL : "it cannot map the memory that it inherits";
}

static const char *
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

struct upgrade *
upgrade_take(void)
{
    static struct upgrade up;
    const char *value = getenv(UPGRADE_VARIABLE);
    int fd;

    if (value == NULL || sscanf(value, "%d %d", &fd, &up.say_fd) != 2)
        return NULL;
    unsetenv(UPGRADE_VARIABLE);
    up.wrong = inherited_read(fd, &up.in);
    fd_close(&fd);
    if (up.wrong != NULL)
        return &up;
    log_take(&up.in.log, up.in.master.log_file);
    if (up.in.log.syslog)
        log_without_stderr(LOG_SYSLOG_SOCKET);
    log_set_format(up.in.master.current->config->log_format, NULL);
    log_set_level(up.in.master.current->config->log_level);
    log_set_name("master");
    environment_take(&up.in.environment);
    return &up;
}

const char *
upgrade_cwd(const struct upgrade *up)
{
    return up->in.has_cwd ? up->in.cwd : NULL;
}

void
upgrade_refuse(struct upgrade *up, const char *sentence)
{
    if (up->say_fd < 0)
        return;
    (void)!fd_write_all(up->say_fd, (const char[]){READING_FAILED}, 1);
    (void)!fd_write_all(up->say_fd, sentence, strlen(sentence));
    fd_close(&up->say_fd);
}

static int
upgrade_try(struct upgrade *up)
{
    struct buffer said;
    int rc;

    buffer_init(&said);
    reload_read(&up->in.master, &said);
    rc = fd_write_all(up->say_fd, buffer_bytes(&said), said.len);
    buffer_fini(&said);
    return rc == 0 ? EX_OK : EX_OSERR;
}

/* Signals that came meanwhile were blocked and wait; but of several children one may be told. */
static int
upgrade_signals(struct master *m)
{
    unsigned pending = m->signals.pending;

    if (signals_open(&m->signals) < 0)
        return -1;
    m->signals.pending |= pending;
    signals_note(&m->signals.pending, SIGCHLD);
    return 0;
}

static void
upgrade_say(struct master *m)
{
    struct buffer text;

    stats_master_version(&m->stats);
    buffer_init(&text);
    buffer_printf(&text, "version " MSOCK_VERSION_TEXT ", generation %llu: ",
                  (unsigned long long)m->current->number);
    reload_describe(m->current, &text);
    log_line(LOG_upgraded, "upgraded: %s", buffer_cstr(&text));
    reload_verdict(m, true, buffer_cstr(&text));
    buffer_fini(&text);
}

int
upgrade_run(struct upgrade *up, const struct master_hooks *hooks, struct failure *why)
{
    struct master *m = &up->in.master;

    m->hooks = hooks;
    if (up->wrong != NULL) {
        upgrade_refuse(up, up->wrong);
        failure_set(why, EX_SOFTWARE, "%s", up->wrong);
        return EX_SOFTWARE;
    }
    if (up->say_fd >= 0) {
        failure_set(why, EX_OSERR, "the master does not listen any more");
        return upgrade_try(up);
    }
    (void)descriptors_keep(&up->in, false);
    m->upgrading = false;
    m->next_program_fd = -1; /* it is program_fd */
    m->reading = (struct reading){.pid = m->reading.pid, .fd = -1};
    if (upgrade_signals(m) < 0) {
        failure_set(why, EX_OSERR, "no descriptors: %s", strerror(errno));
        return EX_OSERR;
    }
    upgrade_say(m);
    return master_go_on(m, why);
}

/* The state of the master, all in its own memory. Nothing here was written by a worker, except the
 * sentence of a worker that could not start. Private to src/master. */
#ifndef MASTER_STATE_H
#define MASTER_STATE_H

#include "bus/bus.h"
#include "common/listen.h"
#include "config/config.h"
#include "master/master.h"
#include "stats/stats_writer.h"
#include "worker/child.h"

#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/* --- run_dir.c --- */

/* The runtime directory: made, checked and locked, and the pid file in it. It is used by its
 * descriptor, so nothing is ever written into what got its name later. Invariant: nothing is
 * written into a directory that somebody else owns or that was reached through a symbolic link, and
 * no file is removed that is not ours.
 *
 * Two locks. An OFD lock on DIR/lock keeps a second master out and tells msockctl that one lives;
 * the kernel drops it when its last descriptor is closed, however the master died. flock on the
 * directory itself tells cleaners of old files (systemd-tmpfiles) to leave it alone, and shows that
 * a master runs there also where its files were removed. Workers close both, so that one that still
 * drains does not keep a new master out. */

#define RUN_DIR_PID_FILE "msockd.pid"
#define RUN_DIR_SAID_LEN 400

struct run_dir {
    char *path; /* heap, without slashes at its end */
    int fd;
    int lock_fd;
    int pid_fd;                  /* -1: not written (yet) */
    char said[RUN_DIR_SAID_LEN]; /* what is wrong with it, as it was last said; "": nothing */
};

#define RUN_DIR_CLOSED ((struct run_dir){.fd = -1, .lock_fd = -1, .pid_fd = -1})

/* Creates dir where it is missing (its parent must exist): 0700 below a directory where everybody
 * may write, as /tmp is, else 0750 and group gid unless that is (gid_t)-1. One that is there must
 * be ours and not writable by others. Then takes the locks, and writes this process's id into
 * DIR/lock, a file of mode 0600; a holder that is about to die is waited for, at most 400 ms.
 * Returns 0, or -1 with the reason: EX_TEMPFAIL and the holder's pid where another msockd runs
 * there. */
MS_MUST_CHECK int run_dir_open(struct run_dir *d, const char *dir, gid_t gid, struct failure *why);

/* The end of a sentence about something in it that failed with error: "", or what to do where its
 * file system may have no such thing. */
const char *run_dir_advice(int error);

/* Puts this process's id into DIR/msockd.pid, at one stroke. Returns 0, or -1 with the reason. */
MS_MUST_CHECK int run_dir_write_pid(struct run_dir *d, struct failure *why);

/* Looks whether the directory and our files in it (control_fd is that of control) are what they
 * were, and logs it once where that has changed. Costs a few calls of stat. */
void run_dir_look(struct run_dir *d, int control_fd);

/* Removes our pid file and lets go. */
void run_dir_close(struct run_dir *d);

/* In a child: lets go, and leaves everything else to the master. */
void run_dir_forget(struct run_dir *d);

/* --- the log file (log_file.c) --- */

/* The log file of a daemon whose workers run as another user than the master. */

/* Makes sure that config's log file is there. One that is missing is created and, by a root master
 * whose workers are another user, given to that user, so that they can open it again after a
 * rotation. One that exists keeps its owner: its directory may be the workers', and to give away
 * what they put under that name would give away any file; for the same reason a symbolic link is
 * refused. Returns 0, or -1 with the reason; nothing
 * to do where the log is standard error. */
MS_MUST_CHECK int log_file_prepare(const struct config *config, struct failure *why);

/* --- listener.c --- */

/* A listening socket: bound once, shared by all workers of all generations that listen there. A
 * listener of the configuration has one for each of its addresses. Only the master binds and
 * closes.
 *
 * A reload binds what is new beside what is there, and lets it listen when it commits, so a reload
 * that is refused has answered nobody. A socket that the new configuration does not have is
 * retired: nobody new can connect, the old workers take those that have, and it ends
 * LISTENER_RETIRED_US later, or when they have taken all. One whose address a wider one covers now
 * stays as a socket of the wider one's listener, since no connection to it would be saved
 * otherwise.
 *
 * The service manager may give sockets, which stay its own: they are neither ended nor removed, and
 * those that no listener has wait in the list of the retired. Of sockets that were bound here it
 * may keep a copy, which it gives to the next msockd. */

struct listener {
    unsigned refs;
    struct listen_socket socket;
    enum listen_file file; /* of a Unix socket, as it was last said */
    char *name;            /* of the configuration that bound it; or under which it was given */
    bool any_port;         /* the kernel chose the port */
    bool listens;          /* it is not only bound */
    bool given;            /* by the service manager, which has bound it */
    bool stored;           /* the service manager has been sent a copy */
    uint64_t end_us;       /* retired: when it ends; UINT64_MAX: it does not */
    struct listener *next; /* in the list of those that are retired */
};

#define LISTENER_RETIRED_US 1000000

/* Takes an open socket over. One reference. */
struct listener *listener_create(const struct listener_config *lc, const struct endpoint *ep,
                                 const struct listen_socket *socket);

/* Why that address of lc cannot be had, from errno. */
void listener_explain(const struct listener_config *lc, const struct endpoint *ep, int error,
                      struct failure *why);

struct listener *listener_ref(struct listener *l);

/* The last one closes, and removes the file of a Unix socket. */
void listener_unref(struct listener *l);

/* In a child: closes the descriptor and leaves everything else to the master. */
void listener_forget(struct listener *l);

/* True where this socket is the one that lc asks for as its address ep: same address, or port 0
 * under the same name. A Unix socket whose file was removed is none: nobody could connect. Nor is
 * one that was shut down. */
bool listener_serves(const struct listener *l, const struct listener_config *lc,
                     const struct endpoint *ep);

/* Applies what can change on a bound socket: the backlog, and a Unix socket's mode and, unless gid
 * is (gid_t)-1, its group. Makes it non-blocking again, as any process that shares it can have
 * changed that. A failure is logged; the socket goes on as it was. What has taken the name of a
 * Unix socket's file is not touched. */
void listener_apply(const struct listener *l, const struct listener_config *lc, gid_t gid);

/* Logs it once where the file of a Unix socket was removed or replaced. */
void listener_look(struct listener *l);

/* --- back-off (generation.c) --- */

/* How long to wait before a worker that died is replaced. Pure: the time is an argument.
 *
 * The first replacement comes at once; one that keeps dying waits 10 ms, 20 ms, ... up to 10 s. A
 * worker that lived for BACKOFF_STABLE_US has earned a clean record. */

#define BACKOFF_FIRST_US  10000u
#define BACKOFF_MAX_US    10000000u
#define BACKOFF_STABLE_US 10000000u

struct backoff {
    uint64_t next_us; /* the delay of the next death in a row; 0: at once */
};

/* A worker that began at started_us died at now_us (same clock). Returns the delay in microseconds
 * until its replacement may be forked. */
uint64_t backoff_died(struct backoff *b, uint64_t started_us, uint64_t now_us);

/* --- spawn.c --- */

/* Forks one worker and arranges what it holds: its two pipes, its signals, its log, its user. Knows
 * nothing of generations; what the child must let go of is told by a callback. */

struct spawn {
    child_main_fn entry;
    const char *name;          /* "worker 0" */
    struct child child;        /* complete but for ready_fd */
    const char *log_file;      /* what the master logs to now (NULL: standard error) */
    void (*forget)(void *arg); /* in the child, first: closes what is not the worker's, and
                                     resets the signals */
    void *forget_arg;
};

/* Returns the worker's pid and the reading end of its readiness pipe (non-blocking, the caller's),
 * or -1 with the reason. What goes wrong in the child before the worker's entry is told on that
 * pipe as a sentence, and the child exits with CHILD_EXIT_NOT_READY. */
MS_MUST_CHECK pid_t spawn_worker(const struct spawn *s, int *ready_fd_out, struct failure *why);

/* --- privileges.c --- */

/* In a forked child: it becomes config's user for good, where the master is root, without
 * capabilities and without groups that are not that user's; nothing that it executes gets any of
 * them again. Its files are for owner and group, and it leaves no core. Returns 0, or -1 with a
 * sentence in error. */
MS_MUST_CHECK int privileges_drop(const struct config *config, char error[FAILURE_TEXT_LEN]);

/* --- generation.c --- */

/* A generation: the workers that run with one configuration, the relay where there is one, that
 * configuration, and its listening sockets. The relay is managed as a worker is. It lives until its
 * last worker is gone. Plain bookkeeping; what is done about a worker is decided in supervise.c. */

enum worker_state {
    WORKER_NONE,     /* no process and none is due */
    WORKER_STARTING, /* forked, has not said that it is ready */
    WORKER_LATE,     /* was not ready in time and has been killed */
    WORKER_READY,
    WORKER_LEAVING, /* told to leave */
    WORKER_WAITING, /* died; its replacement is due at wake_us */
};

struct process {
    enum worker_state state;
    unsigned index; /* STATS_RELAY: it is the relay */
    char name[16];  /* "worker 0", "relay" */
    pid_t pid;      /* a child that is not reaped yet; 0: none */
    int ready_fd;   /* our end of the sockets on which it says that it is ready, or -1 */
    bool may_go;    /* it was told to accept */
    bool placed;    /* place is claimed and not folded yet */
    struct stats_place place;
    uint64_t started_us;
    uint64_t
        wake_us; /* STARTING: ready until then; WAITING: forked then; READY: stable then, or 0 */
    unsigned restarts;
    uint64_t reopens; /* how many reopenings of the logs it has taken part in */
    bool degraded;
    struct backoff backoff;
    char sentence[256]; /* why it could not start, as it was sent */
    size_t sentence_len;
};

struct generation_socket {
    struct listener *socket; /* one reference */
    size_t listener;         /* the configuration's */
};

struct generation {
    struct generation *next; /* in the list of those that drain */
    bool told_to_stop;       /* while it drains: now, not when all is finished */
    uint64_t number;
    struct config *config; /* owned */
    size_t socket_count;
    struct generation_socket sockets[LISTEN_SOCKETS_MAX];
    size_t row_count;
    uint16_t rows[CONFIG_LISTENERS_MAX]; /* in the control file's table of listeners */
    uint64_t kill_at_us;                 /* whoever has not left by then is killed; 0: nobody is */
    size_t worker_count;                 /* with the relay, which is the last one */
    struct process workers[];
};

/* Takes the configuration over. No worker has been forked and nothing is bound. */
struct generation *generation_create(struct config *config, uint64_t number);

/* No worker may be left. */
void generation_destroy(struct generation *g);

/* Gives every listener of the configuration its sockets: old's where it has them (old may be NULL),
 * those of the list retired, also where they were given by name, else new ones, which only listen
 * yet where there is no old. Returns 0, or -1 with the reason; what it has by then goes with
 * generation_unlisten. */
MS_MUST_CHECK int generation_listen(struct generation *g, const struct generation *old,
                                    struct listener *retired, gid_t gid, struct failure *why);

/* Lets those listen that only were bound. Returns 0, or -1 with the reason. */
MS_MUST_CHECK int generation_begin(struct generation *g, const struct generation *old,
                                   struct listener *retired, struct failure *why);

/* Lets go of all sockets; those that no other generation has are closed. */
void generation_unlisten(struct generation *g);

/* True where l is one of g's. */
bool generation_has(const struct generation *g, const struct listener *l);

/* The addresses of the i-th listener that are worth telling; returns how many. */
size_t
generation_told(const struct generation *g, size_t i, struct endpoint out[LISTEN_SOCKETS_MAX]);

/* The worker with this pid, or NULL. */
struct process *generation_find(struct generation *g, pid_t pid);

/* How many have a process, and how many are ready. */
size_t generation_alive(const struct generation *g);
size_t generation_ready(const struct generation *g);

/* The earliest time at which something is due, UINT64_MAX where nothing is. */
uint64_t generation_wake_us(const struct generation *g);

/* Reads what the worker has written so far on ready_fd. Returns true where that is the one byte
 * that means ready; else sentence holds what came. */
bool process_hear(struct process *w);

/* Tells it to accept, once, where it is ready. Closes ready_fd. */
void process_go(struct process *w);

/* sentence, escaped for a log; "" where the worker said nothing. */
#define WORKER_SENTENCE_LEN 400
void process_sentence(const struct process *w, char out[WORKER_SENTENCE_LEN]);

/* --- signals.c --- */

/* Signals to the master. A signal only wakes the loop (signalfd); what is pending is then taken in
 * the order of its rank, most urgent first. Doubles of one signal become one. */

/* In the order of rank. */
enum signals_action {
    SIGNALS_STOP,    /* TERM, INT */
    SIGNALS_DRAIN,   /* QUIT */
    SIGNALS_REAP,    /* CHLD */
    SIGNALS_RELOAD,  /* HUP */
    SIGNALS_REOPEN,  /* USR1 */
    SIGNALS_UPGRADE, /* USR2 */
    SIGNALS_MORE,    /* TTIN */
    SIGNALS_FEWER,   /* TTOU */
    SIGNALS_WORKERS, /* either, with a number */
    SIGNALS_NONE,
};

struct signals {
    int fd;           /* signalfd: readable when something is pending */
    unsigned pending; /* bit set of enum signals_action */
    int workers;      /* of SIGNALS_WORKERS: so many in all */
    sigset_t old_mask;
    struct sigaction old_pipe;
};

/* Blocks the handled signals, ignores SIGPIPE and opens the descriptor. Returns 0, or -1 with errno
 * and everything as it was. */
MS_MUST_CHECK int signals_open(struct signals *s);

/* Closes and restores mask and disposition. */
void signals_close(struct signals *s);

/* In a child: empty mask, every disposition the default, descriptor closed. */
void signals_reset_child(struct signals *s);

/* Takes what has arrived into pending; never blocks. */
void signals_collect(struct signals *s);

/* Notes one signal number; one that is not handled is left out. Pure. */
void signals_note(unsigned *pending, int signo);

/* Removes the most urgent from pending and returns it, SIGNALS_NONE where nothing is. Pure. */
enum signals_action signals_next(unsigned *pending);

/* --- notify.c --- */

/* The service manager that has started msockd, where it wants to know how it goes (systemd, with
 * Type=notify or notify-reload). Its variables are taken out of the environment. */
struct notify {
    struct sockaddr_un to;
    socklen_t len;        /* 0: nobody wants to know */
    uint64_t watchdog_us; /* between two signs of life; 0: none are wanted */
    uint64_t next_us;
};

void notify_open(struct notify *n);

/* Sends lines. Does not wait, and what cannot be sent is lost. */
void notify_say(const struct notify *n, const char *fmt, ...) MS_PRINTF(2, 3);

/* Has the manager keep a copy of the descriptor, which it gives to the next msockd under that name;
 * and has it forget all of a name. */
void notify_store(const struct notify *n, const char *name, int fd);
void notify_forget(const struct notify *n, const char *name);

/* A reload begins; and msockd is ready, at the start and after a reload, however it went. */
void notify_reloading(const struct notify *n, const char *what);
void notify_ready(const struct notify *n, const char *prefix, const char *text);

/* When the next sign of life is due (UINT64_MAX: never), and that it may be. */
uint64_t notify_wake_us(const struct notify *n);
void notify_timer(struct notify *n, uint64_t now_us);

enum master_phase {
    MASTER_STARTING, /* the first generation is not ready yet */
    MASTER_RUNNING,
    MASTER_DRAINING, /* told to stop once the messages under way are finished */
    MASTER_STOPPING, /* told to stop at once */
    MASTER_FAILED,   /* could not start; only the reaping is left */
};

/* The child that reads the next configuration. */
struct reading {
    pid_t pid;    /* not reaped yet; 0: none */
    int fd;       /* what it says, to its end; -1: nobody reads */
    int words_fd; /* standard error of another program, until it is known as msockd; else -1 */
    struct buffer said;
    uint64_t until_us;
};

enum workers_again { WORKERS_AS_THEY_ARE, WORKERS_MORE, WORKERS_TOTAL };

struct master {
    const struct master_hooks *hooks;
    enum master_phase phase;
    struct signals signals;
    struct run_dir run;
    struct notify notify;
    int verdict_fd;   /* hooks', until it was told */
    int terminal_fd;  /* standard error, where that is a terminal whose hang-up ends it; else -1 */
    int death_fds[2]; /* workers read end-of-file on [0] when this process, which alone holds [1],
                         is gone */
    uint64_t look_at_us; /* when master_look is due */
    char *log_file;      /* heap; the present file of the log, NULL: standard error */
    bool has_stats;
    struct tls_secret tls_secret;  /* of the tickets of all workers of all generations */
    struct bus_place bus;          /* for all workers, as long as the master lives */
    struct dedup_table *dedup;     /* the same */
    struct sources_table *sources; /* the same */
    _Atomic int64_t *id_offset_us; /* the same, */
    int id_clock_fd;               /* and its memory */
    int accept_bell;               /* see struct child */
    int handover_fds[2]; /* connections from workers that leave go in at [1], out at [0] */
    struct stats_master stats;
    struct generation *current;       /* NULL while starting and stopping */
    struct generation *pending;       /* forked, not all ready yet */
    struct generation *old;           /* list of those that drain */
    struct listener *retired;         /* list; one reference each */
    struct reading reading;           /* of the next configuration */
    bool reload_again;                /* a HUP came during a reload, or the start; */
    bool upgrade_again;               /* or a USR2 */
    enum workers_again workers_again; /* or a TTIN or TTOU; */
    int64_t workers_number;           /* so many in all, or more */
    bool upgrading;                   /* the reload under way is an upgrade */
    int program_fd;                   /* the program that runs here and in new workers */
    int next_program_fd;              /* upgrading: the one that is to; else -1 */
    char program_path[PATH_MAX];      /* that of the program at the first start; "": not known */
    uint64_t reopens;
    uint64_t minded_day;    /* since 1970, when certificates were last looked at */
    struct failure failure; /* why it could not start */
};

/* The group that owns what workers and msockctl may read: the configured one of a root master, else
 * (gid_t)-1. */
gid_t master_group(const struct config *config);

/* Looks whether the runtime directory and the files of Unix sockets are what they were, and says it
 * where they are not. Cheap; it is done now and then, and where it matters. */
void master_look(struct master *m);

/* The loop, to the end of all that is there. Returns as master_run. */
int master_go_on(struct master *m, struct failure *why);

/* --- given.c --- */

/* Takes the given sockets over, as retired ones: the first generation takes those that it wants. */
void given_open(struct master *m, const struct given *given);

/* A generation has become current: tells the manager what to keep and what to forget, and logs
 * which of its own sockets nobody has. */
void given_tell(struct master *m);

/* --- reload.c --- */

/* A change of configuration as a transaction; the start is one that begins with nothing. Either
 * every worker of the new generation says that it is ready, and then it takes over, or everything
 * is as it was. */

/* Prepares, binds and forks a pending generation with config, which is taken over in every case.
 * Returns 0, or -1 with the reason and nothing left behind but workers that are being reaped. */
MS_MUST_CHECK int reload_begin(struct master *m, struct config *config, struct failure *why);

/* Gives pending up. */
void reload_abort(struct master *m);

/* Makes pending current, and lets the generation before it drain. Returns 0, or -1 with the reason
 * where a socket could not listen after all: nothing has changed then. */
MS_MUST_CHECK int reload_commit(struct master *m, struct failure *why);

/* HUP: has the configuration read and begins; a reload under way is followed by one more. upgrade:
 * USR2, the same with the program that the file is now. */
void reload_request(struct master *m, bool upgrade);

/* TTIN and TTOU: so many workers in all, or more, are wanted. reload_workers_begin begins a reload
 * with the present configuration and that number of workers, where it is wanted and none is under
 * way. An upgrade keeps the number, the next reload forgets it. */
void reload_workers(struct master *m, enum workers_again how, int number);
void reload_workers_begin(struct master *m);

/* A change is refused: says why, on the log and as the verdict. */
void reload_refuse(struct master *m, const struct failure *why);

/* Gives pending up and says why, on the log and as the verdict. */
void reload_fail(struct master *m, const struct failure *why);

/* The verdict of a reload or an upgrade, for msockctl and the service manager. */
void reload_verdict(struct master *m, bool ok, const char *text);

/* pending is ready: commits and says so. */
void reload_finish(struct master *m);

/* Says once a day which certificates of current end soon, or have ended. */
void reload_mind_certificates(struct master *m);

/* Appends "8 workers, listening on msp://127.0.0.1:8000, ..." for g. */
void reload_describe(const struct generation *g, struct buffer *out);

/* --- reading.c --- */

/* Has a child read the configuration, which has ready_timeout. Returns 0, or -1 with the reason. */
MS_MUST_CHECK int reading_begin(struct master *m, struct failure *why);

/* In the child: reads it, and appends what the child says. The first byte says how it went: what
 * follows is the configuration, or a sentence. */
void reading_say(const struct master *m, struct buffer *said);
#define READING_DONE   'K'
#define READING_FAILED 'E'

/* Is a configuration being read? */
bool reading_is_on(const struct master *m);

/* Takes what its child has said; begins, or says why not, once that is all. */
void reading_hear(struct master *m);

/* Gives up where the child takes too long. */
void reading_timers(struct master *m, uint64_t now_us);

/* Ends the child and says why, on the log and as the verdict. Nothing to do where none reads. */
void reading_give_up(struct master *m, const char *reason);

/* Waits a moment for the child, which has ended or was killed, but may be in a call to a disk that
 * does not answer. Returns its status, as wait(2) says it, or -1. */
int reading_bury(struct master *m);

/* --- rows.c --- */

/* Gives each listener of g its row, that of the present configuration where it is the same. Returns
 * 0, or -1 with the reason. */
MS_MUST_CHECK int rows_claim(struct master *m, struct generation *g, struct failure *why);

/* Lets rows of gone go that stays does not have. */
void rows_release(struct master *m, const struct generation *gone, const struct generation *stays);

/* --- retired.c --- */

/* Those of old that g does not have retire, and those that g has again come back. */
void retired_add(struct master *m, const struct generation *old, const struct generation *g);
void retired_revive(struct master *m, const struct generation *g);

/* Ends those whose time is over; when that is the next time (UINT64_MAX: never); and all. */
void retired_timers(struct master *m, uint64_t now_us);
uint64_t retired_wake_us(const struct master *m);
void retired_end_all(struct master *m);

/* --- upgrade.c --- */

/* An upgrade is a reload with another program: the master's file as it is now. That program reads
 * the configuration, and so proves that it runs and understands what a master of this version
 * leaves; then its workers begin, as those of a reload do. When they are ready, the master executes
 * the program in its own place: its process id, its lock, its descriptors and its children stay
 * what they were. Once it knows all that the master before knew, it lets the workers take over.
 * Whatever goes wrong until then is a reload that is refused. */

/* At the first start: notes where the file is. */
void upgrade_find_program(struct master *m);

/* Opens the file. Returns 0, or -1 with the reason. */
MS_MUST_CHECK int upgrade_begin(struct master *m, struct failure *why);

/* The upgrade is over, one way or the other. */
void upgrade_end(struct master *m);

/* In the child that reads the configuration: has the other program do it, which says on fd what
 * that child would have said. What it writes to standard error before goes to words_fd. */
_Noreturn void upgrade_read(struct master *m, int fd, int words_fd);

/* Its workers are ready: executes it. Returns only where that cannot be done, with the reason. */
void upgrade_execute(struct master *m, struct failure *why);

/* --- guard.c --- */

/* "4 -1 5 10": the descriptor of what is inherited; where a trial says how it went, or -1; the
 * program to go back to, or -1 (of a trial: its standard error); and so many seconds to begin, or
 * why there was a way back. */
#define UPGRADE_VARIABLE "MSOCKD_UPGRADE"

enum upgrade_back { UPGRADE_CRASHED = 1, UPGRADE_ENDED, UPGRADE_HUNG, UPGRADE_DEAF };

/* From now on a crash, an exit, and so many seconds lead back to that program. argv stays the
 * caller's; both descriptors live over an exec. */
void guard_arm(int program_fd, int state_fd, char *const *argv, unsigned seconds);

/* Back at once. Returns only where it was not armed. */
void guard_go_back(enum upgrade_back how);

/* No longer, since it has begun. Closes state_fd. Nothing to do where it was not armed. */
void guard_disarm(void);

/* --- crash.c --- */

/* A worker has died, as wait(2) says: keeps what it left, and logs whose bytes it was reading and
 * where in the code it was. Before its place is folded. */
void crash_keep(struct master *m, const struct process *w, int status);

/* --- supervise.c --- */

/* Manages workers: forks them, hears that they are ready, reaps, replaces, tells them to leave,
 * kills. */

/* Past its time to leave a worker is killed after so long. */
#define SUPERVISE_GRACE_US 5000000u

/* Workers of old generations at one time. The places in the statistics are enough for these, for a
 * present and a next generation of CONFIG_WORKERS_MAX and a relay, and for as many that are being
 * told to leave. */
#define GENERATION_MAX    (CONFIG_WORKERS_MAX + 1)
#define SUPERVISE_OLD_MAX (STATS_REGIONS - 3 * GENERATION_MAX)

/* Forks w of g, whose listeners are in place. Returns 0, or -1 with the reason and w as it was. */
MS_MUST_CHECK int
supervise_spawn(struct master *m, struct generation *g, struct process *w, struct failure *why);

/* Tells the ready workers of g to accept, and to take over connections. */
void supervise_go(struct generation *g);

/* Hears which workers of current and pending are ready. Those of current go at once. */
void supervise_hear(struct master *m);

/* Reaps every child that has ended. Those that are not workers are reaped in silence. Where one of
 * pending is among them, the reason is in why and false is returned. */
MS_MUST_CHECK bool supervise_reap(struct master *m, struct failure *why);

/* Does what is due: kills, replaces. Returns as supervise_reap where a worker of pending is
 * late. */
MS_MUST_CHECK bool supervise_timers(struct master *m, uint64_t now_us, struct failure *why);

/* Moves g, which is neither current nor pending any more, to those that drain: sockets closed,
 * ready workers told to leave with signo (QUIT: when they have finished what they have begun, TERM:
 * now), and killed when they are still there limit_us and SUPERVISE_GRACE_US later. Those that are
 * not ready are killed at once: they have begun nothing. */
void supervise_drain(struct master *m, struct generation *g, int signo, uint64_t limit_us);

/* Where too many workers drain, tells the oldest to leave now. */
void supervise_bound(struct master *m);

/* Tells the workers of g, which drains, to leave now. */
void supervise_stop(struct generation *g, uint64_t now_us);

/* Frees those that have drained. */
void supervise_sweep(struct master *m);

/* Tells every worker to open its log again. */
void supervise_reopen(struct master *m);

#endif

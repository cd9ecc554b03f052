/* The exec handler: what its files share. exec.c has the queue and the time, exec_slot.c a child
 * and its message, exec_settle.c how a message ends; the others are the parts of a child. */
#ifndef HANDLER_EXEC_EXEC_H
#define HANDLER_EXEC_EXEC_H

#include "common/text.h"
#include "handler/handler.h"
#include "proto/message.h"

#include <sys/queue.h>
#include <sys/types.h>

/* --- the answer of a child (exec_io.c) --- */

/* The answer of a child about one message, from its standard output. In a pool it is a length and
 * that many bytes; the highest bit of the length means a refusal. Otherwise it is everything up to
 * the end. */

#define EXEC_ANSWER_REFUSED     UINT32_C(0x80000000)
#define EXEC_ANSWER_REFUSAL_MAX (64u << 10)
#define EXEC_TEXT_MAX           400 /* bytes of a refusal that are kept */

enum exec_answer_is {
    EXEC_ANSWER_MORE,  /* bytes are missing */
    EXEC_ANSWER_WHOLE, /* and the bytes behind it are not consumed */
    EXEC_ANSWER_BAD,   /* longer than allowed */
};

struct exec_answer {
    struct message *reply;    /* one that is wanted, as far as it has come; else NULL */
    char text[EXEC_TEXT_MAX]; /* the beginning of a refusal */
    uint64_t len;             /* bytes so far, kept or not */
    uint8_t head[4];
    uint8_t head_len;
    bool framed;
    bool refused;
    uint32_t body_len; /* of a framed one; set once its head is there */
};

/* store: where a reply is kept like a message; NULL: none is wanted. */
void exec_answer_init(struct exec_answer *answer, bool framed, struct message_store *store);
void exec_answer_fini(struct exec_answer *answer);

/* The reply, a reference for the caller; NULL: none, or, with errno other than 0, it could not be
 * kept. */
struct blob *exec_answer_reply(struct exec_answer *answer);

/* Not to be called again once it is whole or bad. One that is not framed is never whole by
 * itself. */
enum exec_answer_is
exec_answer_feed(struct exec_answer *answer, const void *data, size_t n, size_t *consumed_out);

/* --- the bytes for a child (exec_io.c) --- */

/* A message as the bytes that a child reads: in a pool its length and its body, else the body
 * alone. Wherever the body is, at most one chunk of it is in memory for this. A body in a file is
 * hashed again on its way: one that comes back changed is an error before its last byte is
 * given. */

#define EXEC_FEED_HEAD 4

struct exec_feed {
    const struct message *m; /* NULL: nothing */
    uint8_t head[EXEC_FEED_HEAD];
    size_t head_len;       /* 0 where no length is sent */
    uint64_t at;           /* bytes taken so far, those of the head included */
    struct sha256 *digest; /* of the body so far; NULL where it is in memory */
};

/* framed: with a length in front, and then the body is at most UINT32_MAX bytes. The message stays
 * the caller's, and must be there until exec_feed_fini. */
void exec_feed_init(struct exec_feed *feed, const struct message *m, bool framed);
void exec_feed_fini(struct exec_feed *feed); /* it feeds nothing then */

bool exec_feed_done(const struct exec_feed *feed);

/* The next bytes, more than none unless it is done: in the message or in chunk, valid until the
 * next call. Returns how many, or -1 with errno where the body cannot be read: EBADMSG where it is
 * no longer what it was. Takes nothing. */
ssize_t
exec_feed_next(const struct exec_feed *feed, char *chunk, size_t chunk_size, const char **data_out);

/* n of these bytes, which exec_feed_next has given, are taken. */
void exec_feed_take(struct exec_feed *feed, const char *data, size_t n);

/* --- the last line of a child (exec_io.c) --- */

/* The last line of a child's standard error, of any length: only the beginnings of two lines are
 * kept. */

#define EXEC_TAIL_MAX 512

struct exec_tail {
    char line[EXEC_TAIL_MAX]; /* not ended yet */
    size_t line_len;
    char last[EXEC_TAIL_MAX]; /* the last one that was not empty, without its end */
    size_t last_len;
};

/* Told of each line that is not empty, cut to EXEC_TAIL_MAX bytes. */
typedef void (*exec_tail_line_fn)(void *arg, const char *line, size_t n);

void exec_tail_init(struct exec_tail *tail);
void exec_tail_feed(struct exec_tail *tail, const char *data, size_t n, exec_tail_line_fn said,
                    void *arg);

/* No more will come: the last bytes are a line too, without an end of line. */
void exec_tail_end(struct exec_tail *tail, exec_tail_line_fn said, void *arg);

/* --- the environment of a child (exec_child.c) --- */

/* The environment of a child: facts about the worker and, if the child is for one message, about
 * that message; of the variables of this process those that are common, and those that exec_env
 * names. Text from a peer is only ever the value of a variable. An unknown fact is not set. */

/* What all children of a listener have. It must be there as long as the helper. */
struct exec_place {
    const char *command; /* for /bin/sh -c */
    const char *listener, *data_dir;
    const char *env; /* the option exec_env; NULL: none */
    unsigned worker;
};

/* About the one message that a child is for. */
struct exec_facts {
    const struct message *m;
    const char *proto, *peer, *identity;
};

struct exec_env {
    char **vars;  /* NULL-terminated, for execve(2) */
    size_t owned; /* of these, the first so many; the others belong to environ and vars */
};

/* Appends the facts as variables, each with a NUL behind it. */
void exec_vars_pack(const struct exec_facts *facts, struct buffer *out);

/* vars: n bytes of exec_vars_pack, or none; they stay the caller's. Valid while environ does not
 * change. Returns 0, or -1 where they are anything else. */
MS_MUST_CHECK int
exec_env_init(struct exec_env *env, const struct exec_place *place, const char *vars, size_t n);
void exec_env_fini(struct exec_env *env);

/* Returns a sentence if an environment cannot describe the message, because of a NUL byte in it,
 * else NULL. */
const char *exec_env_refuses(const struct message *m);

/* --- the start of a child (exec_child.c) --- */

/* Starts a child of the exec handler: /bin/sh -c COMMAND as the leader of a process group of its
 * own, with three descriptors and default signals, none of them blocked. The child gets SIGKILL
 * when the thread that started it ends, for any reason. Processes that the command starts do not
 * get it. */

struct exec_spawn {
    const char *command;
    char *const *env;
    int in, out, err; /* above 2; stay the caller's */
    bool for_parent;  /* the child is that of this process's parent, also where its start fails */
};

/* Returns 0, or an errno. Blocks until the shell has begun, for less than it would take to copy the
 * page tables of a large process. */
MS_MUST_CHECK int exec_spawn(const struct exec_spawn *spawn, pid_t *pid_out);

/* Closes all descriptors from this one on. */
void exec_spawn_close_others(int first);

/* --- the helper (exec_helper.c) --- */

/* A process beside the worker that starts the children of one listener. The worker may be in a
 * sandbox, and the helper is not: it is started before. It ends with the worker. */

struct exec_helper {
    pid_t pid; /* 0: there is none */
    int fd;
};

/* Returns 0, or -1 with errno. */
MS_MUST_CHECK int exec_helper_start(struct exec_helper *out, const struct exec_place *place);
void exec_helper_stop(struct exec_helper *helper); /* waits a moment for its end */

/* Starts a child of this process, with the variables of exec_vars_pack and these descriptors.
 * Returns 0, or an errno. */
MS_MUST_CHECK int exec_helper_spawn(struct exec_helper *helper, const struct buffer *vars,
                                    const int fds[3], pid_t *pid_out);

/* To the whole group of a child that is not reaped. */
void exec_helper_signal(struct exec_helper *helper, pid_t pid, int signo);

/* --- exec_child.c --- */

/* One child process: /bin/sh -c COMMAND with its three pipes, as the leader of a process group of
 * its own, watched by an epoll descriptor of the caller's. Nothing here waits for it. Its end is
 * known by a pidfd, so no SIGCHLD is needed and nobody else's children are touched; where there is
 * no such call it is looked for again and again. It is killed when the thread that started it ends.
 */

/* The part of a child that is ready: the lowest two bits of an event's data.u64; the others are its
 * key. */
enum exec_child_part {
    EXEC_CHILD_IN,
    EXEC_CHILD_OUT,
    EXEC_CHILD_ERR,
    EXEC_CHILD_EXIT,
};

#define EXEC_CHILD_KEY(n) ((uint64_t)(n) << 2)

struct exec_child {
    pid_t pid;        /* 0: there is none */
    int pid_fd;       /* -1: its end is not told, see exec_child_end_is_told */
    int in, out, err; /* this side's ends, non-blocking; -1: closed */
    bool in_watched;
    bool is_lost; /* somebody else has reaped it, so its number may be another's */
    int epoll_fd;
    uint64_t key;
    struct exec_helper *helper;
};

#define EXEC_CHILD_NONE ((struct exec_child){.pid_fd = -1, .in = -1, .out = -1, .err = -1})

struct exec_child_setup {
    struct exec_helper *helper;
    const struct buffer *vars; /* of exec_vars_pack */
    int epoll_fd;
    uint64_t key; /* EXEC_CHILD_KEY */
};

/* Returns 0, or -1 with errno and no child. */
MS_MUST_CHECK int exec_child_start(struct exec_child *child, const struct exec_child_setup *setup);

/* Stops watching one of its descriptors, and closes it. */
void exec_child_close(struct exec_child *child, int *fd);

/* Whether EXEC_CHILD_IN is to be told. */
void exec_child_watch_in(struct exec_child *child, bool on);

/* To the whole group. */
void exec_child_signal(const struct exec_child *child, int signo);

/* Is its end an event, EXEC_CHILD_EXIT? Else exec_child_has_ended must be asked from time to
 * time. */
static inline bool
exec_child_end_is_told(const struct exec_child *child)
{
    return child->pid_fd >= 0;
}

/* True where the process has ended; it is not reaped yet. */
bool exec_child_has_ended(struct exec_child *child);

/* Of a child that has ended: ends what is left of its group, closes everything and forgets it.
 * Returns its wait status, or -1 where somebody else has taken that. */
int exec_child_reap(struct exec_child *child);

/* Bytes that wait to be read. */
size_t exec_child_pending(int fd);

/* --- what its files share --- */

#define EXEC_CHUNK (64u << 10)

/* A message that is not settled: in the queue, or with a child. */
struct exec_job {
    struct message *m;
    STAILQ_ENTRY(exec_job) link; /* in the queue */
    uint64_t queued_us;
    unsigned tries;                /* children that ended in order without an answer to it */
    char *proto, *peer, *identity; /* with exec=once; else NULL */
};

#define EXEC_JOB_COST (sizeof(struct exec_job) + 256) /* in the ledger, with its texts */

enum exec_slot_state {
    EXEC_SLOT_FREE,   /* no process */
    EXEC_SLOT_IDLE,   /* waits for a message */
    EXEC_SLOT_BUSY,   /* a message is under way */
    EXEC_SLOT_ENDING, /* has been told to end; its message is settled */
};

/* Room for one child. */
struct exec_slot {
    enum exec_slot_state state;
    struct exec_child child;
    struct exec_job *job; /* of EXEC_SLOT_BUSY */
    struct exec_feed feed;
    struct exec_answer answer;
    struct exec_tail tail;
    bool is_answered;     /* with a pool: the answer is whole */
    bool said_more;       /* and something came behind it */
    uint64_t served;      /* messages it has decided */
    uint64_t deadline_us; /* of the message, or when an ending child is told again */
    int next_signal;      /* of EXEC_SLOT_ENDING: the signal that it gets then */
};

/* From the listener's URL. */
struct exec_config {
    bool once;         /* a child for each message; else a pool of them, fed one after the other */
    unsigned children; /* most at a time, in each worker */
    uint64_t timeout_us; /* for one message; then the child is ended */
};

STAILQ_HEAD(exec_queue, exec_job);

struct exec {
    struct handler_host host;
    struct exec_config config;
    struct exec_place place; /* where the helper is its own */
    struct exec_helper helper;
    int epoll_fd, timer_fd;
    uint64_t armed_us; /* when timer_fd fires; UINT64_MAX: not armed */
    struct exec_slot *slots;
    struct exec_queue queue;
    unsigned out;            /* jobs not settled */
    uint64_t served_us;      /* when a child last decided a message */
    uint64_t start_delay_us; /* how long the next start waits where the last one failed; or 0 */
    uint64_t start_at_us;    /* no child is started before */
    bool is_leaving;
    uint64_t warned_us;    /* a warning is not said more often than once a second */
    uint64_t heard_us;     /* the second in which children's lines are counted */
    unsigned heard, muted; /* lines said in it, and not said */
    char *chunk;           /* EXEC_CHUNK bytes for whoever reads or writes */
};

/* --- exec.c --- */

/* The handler wants to look at its deadlines then. */
void exec_arm(struct exec *h, uint64_t when_us);

/* A child ended, or could not be started, without having done anything. */
void exec_start_failed(struct exec *h);

/* --- exec_settle.c --- */

/* How a message ends, in words. Each function but the last two settles the job's message and frees
 * the job. */

#define EXEC_REFUSED_STATUS 65 /* EX_DATAERR of sysexits.h */

/* With the child's reply; no bytes are no reply. */
void exec_settle_committed(struct exec *h, struct exec_job *job, struct exec_answer *answer);

/* text: a child's, n bytes, of which at most EXEC_TEXT_MAX are used; none: a sentence of ours. */
void exec_settle_refused(struct exec *h, struct exec_job *job, const void *text, size_t n);

/* Refused before a child saw it. */
void exec_settle_unfit(struct exec *h, struct exec_job *job, const char *text);

/* what: a sentence without its full stop; error: an errno, or 0. */
void exec_settle_failed(struct exec *h, struct exec_job *job, const char *what, int error);

/* By the wait status of a child that did not answer; tail: the end of its standard error. */
void
exec_settle_status(struct exec *h, struct exec_job *job, int status, const struct exec_tail *tail);

/* Frees a job, without its message. */
void exec_job_destroy(struct exec *h, struct exec_job *job);

/* A warning, with the last line that a child said (or NULL) behind it. */
void exec_warn(struct exec *h, const char *what, const struct exec_tail *tail);

/* One line of a child's standard error, to the log at level info; not more than some a second. An
 * exec_tail_line_fn: arg is the handler. */
void exec_heard_line(void *arg, const char *line, size_t n);

/* --- exec_slot.c --- */

/* One child and its message. The child's output and exit status decide the message; then the child
 * is free for the next one, or ends. Only exec.c gives a message to a child. */

enum exec_slot_end {
    EXEC_END_LEAVE, /* its standard input ends; if that does not help, EXEC_END_TERM */
    EXEC_END_TERM,  /* SIGTERM; if that does not help, EXEC_END_KILL */
    EXEC_END_KILL,  /* SIGKILL */
};

/* Gives a job to a slot that is free (a child is started) or idle. Returns 0 (the job is the
 * slot's, and perhaps settled), or -1 with errno where no child can be started: the job stays the
 * caller's. */
MS_MUST_CHECK int exec_slot_give(struct exec *h, struct exec_slot *slot, struct exec_job *job);

/* That part of the child may be ready; no harm where it is not. */
void exec_slot_event(struct exec *h, struct exec_slot *slot, enum exec_child_part part);

/* Looks whether its child has ended, where nothing tells that, and again a moment later. */
void exec_slot_look(struct exec *h, struct exec_slot *slot);

/* Its deadline has come. */
void exec_slot_due(struct exec *h, struct exec_slot *slot);

/* The job of a slot that is busy, which is the caller's now. */
struct exec_job *exec_slot_take_job(struct exec_slot *slot);

/* Ends the child of a slot that is not free; its group gets the signals. A job that it has is the
 * caller's to take before. */
void exec_slot_end(struct exec *h, struct exec_slot *slot, enum exec_slot_end how);

/* The same, and the job that it has, if any, has failed for that reason. */
void exec_slot_fail(struct exec *h, struct exec_slot *slot, enum exec_slot_end how,
                    const char *what, int error);

#endif

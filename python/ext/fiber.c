/* A call of libmsock that comes back wherever it would wait: it runs on a stack of its own, and its
 * waits switch to the stack of the event loop. Only libmsock runs there; Python is called on the
 * loop's stack, since an interpreter knows how deep its own stack is. */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define FIBER_STACK ((size_t)256 << 10) /* only the pages that are used cost memory */

struct fiber {
    ucontext_t loop, own;
    void *stack;
    size_t stack_len;
    struct client *client;
    struct call *call;
    bool is_over, is_ended;

    /* what it waits for */
    struct pollfd *fds;
    unsigned n;
    int timeout_ms;
    int rc, error; /* the result of the wait */

    /* what is to be called on the other stack; NULL: nothing */
    void (*python)(void *);
    void *python_arg;
};

/* makecontext passes ints: a pointer is two of them. */
static void
fiber_main(unsigned high, unsigned low)
{
    struct fiber *f = (void *)(((uintptr_t)high << 16 << 16) | low);

    client_run(f->client, f->call);
    f->is_over = true;
}

static int
fiber_map_stack(struct fiber *f)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    f->stack_len = FIBER_STACK + page;
    f->stack = mmap(NULL, f->stack_len, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (f->stack == MAP_FAILED)
        return -1;
    (void)mprotect(f->stack, page, PROT_NONE); /* it grows down to here */
    return 0;
}

static void
fiber_make_context(struct fiber *f)
{
    (void)getcontext(&f->own);
    f->own.uc_stack.ss_sp = f->stack;
    f->own.uc_stack.ss_size = f->stack_len;
    f->own.uc_link = &f->loop;
    makecontext(&f->own, (void (*)(void))fiber_main, 2, (unsigned)((uintptr_t)f >> 16 >> 16),
                (unsigned)(uintptr_t)f);
}

struct fiber *
fiber_create(struct client *c, struct call *call)
{
    struct fiber *f = calloc(1, sizeof(*f));

    if (f == NULL || fiber_map_stack(f) < 0) {
        free(f);
        PyErr_NoMemory();
        return NULL;
    }
    f->client = c;
    f->call = call;
    fiber_make_context(f);
    return f;
}

void
fiber_destroy(struct fiber *f)
{
    if (f == NULL)
        return;
    (void)munmap(f->stack, f->stack_len);
    free(f);
}

/* What has happened since. */
static void
fiber_look(struct fiber *f)
{
    f->rc = poll(f->fds, f->n, 0);
    f->error = errno;
    if (f->is_ended) {
        f->rc = -1;
        f->error = ECANCELED;
    }
}

static void
fiber_switch(struct fiber *f)
{
    PyThreadState *state = PyEval_SaveThread();

    (void)swapcontext(&f->loop, &f->own);
    ext_restore(state);
}

bool
fiber_step(struct fiber *f, bool end)
{
    f->is_ended |= end;
    do {
        fiber_look(f);
        fiber_switch(f);
        while (f->python != NULL) {
            f->python(f->python_arg);
            f->python = NULL;
            fiber_switch(f);
        }
    } while (!f->is_over && f->is_ended);
    return f->is_over;
}

unsigned
fiber_waits(const struct fiber *f, const struct pollfd **fds_out, int *timeout_ms_out)
{
    *fds_out = f->fds;
    *timeout_ms_out = f->timeout_ms;
    return f->n;
}

int
fiber_poll(struct fiber *f, struct pollfd *fds, unsigned n, int timeout_ms)
{
    f->fds = fds;
    f->n = n;
    f->timeout_ms = timeout_ms;
    (void)swapcontext(&f->own, &f->loop);
    f->n = 0;
    errno = f->error;
    return f->rc;
}

void
fiber_call_python(struct fiber *f, void (*fn)(void *), void *arg)
{
    f->python = fn;
    f->python_arg = arg;
    (void)swapcontext(&f->own, &f->loop);
}

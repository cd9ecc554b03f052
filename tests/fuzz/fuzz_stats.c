/* What msockctl makes of shared memory in which any bytes may stand: beginning with files that a
 * master and two workers wrote, the input is a subcommand and then patches. Each is a place (1
 * byte: control, block, slots or recorder of a worker, or what is left of one that died), an offset
 * in cells of 4 bytes (2 bytes), a length (1) and the bytes. What it prints is not looked at, but
 * for the escapes that no table may have.
 */
#include "common/base.h"
#include "msockctl/ctl.h"
#include "stats/stats_writer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORKERS     2
#define SLOTS_BYTES (64 * sizeof(struct stats_slot))
#define PLACES      (2 + 3 * WORKERS)
#define OUTPUT_MAX  ((size_t)1 << 20) /* of what is printed is looked at */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A part of the files, and the bytes that were there first. */
struct place {
    uint8_t *at, *before;
    size_t len;
};

static char dir[] = "/tmp/fuzz_stats.XXXXXX";
static struct stats_master master;
static struct stats_writer workers[WORKERS];
static struct place places[PLACES];
static int out_fd;

/* --- the files as msockd writes them --- */

static void
give_up(const char *what)
{
    perror(what);
    exit(71);
}

static void
lock_take(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, STATS_LOCK_FILE);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0)
        give_up(path);
}

static void
worker_begin(unsigned i)
{
    struct endpoint peer = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (void *)&peer.addr;
    struct stats_writer *sw = &workers[i];
    static struct stats_place place[WORKERS];
    struct stats_worker *row;

    if (stats_master_claim(&master, i, 1, &place[i]) < 0 || stats_writer_open(sw, &place[i]) < 0)
        give_up("a worker");
    row = stats_master_worker(&master, &place[i]);
    atomic_store(&row->state, STATS_WORKER_READY);
    atomic_store(&row->pid, 4242);
    *in = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(50412), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (uint16_t k = 0; k < 2; k++)
        stats_add(&stats_writer_claim(sw, k, &peer, clock_mono_us())->counters.messages, 3);
    stats_add(&sw->block->counters.messages, 6);
    stats_latency(sw->block, 100);
    stats_record(sw, STATS_EVENT_accepted, &sw->slots[0], clock_mono_us(), 0, NULL);
    stats_record(sw, STATS_EVENT_refused, &sw->slots[1], clock_mono_us(), 1, "no-space");
    stats_reading(sw, 0, &sw->slots[0]);
    strcpy(sw->recorder->note.frames[0].function, "conn_read");
    atomic_store(&sw->recorder->note.frame_count, 1);
    (void)stats_master_crashed(&master, &place[i], 11);
}

static void
place_keep(struct place *place, void *at, size_t len)
{
    *place = (struct place){.at = at, .before = ms_malloc(len), .len = len};
    memcpy(place->before, at, len);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const protocols[] = {"auto", "msp", NULL};
    char error[256];

    (void)argc;
    (void)argv;
    if (mkdtemp(dir) == NULL)
        give_up(dir);
    lock_take();
    if (stats_master_open(&master, -1, dir, (gid_t)-1, error) < 0)
        give_up(error);
    stats_master_protocols(&master, protocols);
    stats_master_listener(&master, -1, "msp://127.0.0.1:0", "127.0.0.1:43117", "msp", "journal");
    stats_master_listener(&master, -1, "auto://[::1]:0", "[::1]:43118", "auto", "echo");
    for (unsigned i = 0; i < WORKERS; i++)
        worker_begin(i);
    stats_master_ready(&master);
    place_keep(&places[0], master.control, sizeof(*master.control));
    for (unsigned i = 0; i < WORKERS; i++) {
        place_keep(&places[1 + 2 * i], workers[i].block, sizeof(struct stats_block));
        place_keep(&places[2 + 2 * i], workers[i].slots, SLOTS_BYTES);
        place_keep(&places[1 + 2 * WORKERS + i], workers[i].recorder,
                   sizeof(struct stats_recorder));
    }
    place_keep(&places[PLACES - 1], master.control->crash, sizeof(master.control->crash));
    out_fd = memfd_create("output", MFD_CLOEXEC);
    stdout = fdopen(out_fd, "w");
    stderr = fopen("/dev/null", "w"); /* libFuzzer and the sanitizers keep theirs */
    if (stdout == NULL || stderr == NULL)
        exit(71);
    return 0;
}

/* --- one input --- */

static void
patch(const uint8_t *data, size_t n)
{
    while (n > 4) {
        const struct place *place = &places[data[0] % PLACES];
        size_t offset = (size_t)(data[1] | data[2] << 8) * 4 % place->len, len = data[3];

        data += 4;
        n -= 4;
        if (len > n)
            len = n;
        if (len > place->len - offset)
            len = place->len - offset;
        memcpy(place->at + offset, data, len);
        data += len;
        n -= len;
    }
}

static void
run(uint8_t which)
{
    static const struct {
        const struct ctl_command *command;
        const char *options[3];
    } runs[] = {
        {&ctl_stats, {NULL}},
        {&ctl_stats, {"--json"}},
        {&ctl_stats, {"--prometheus"}},
        {&ctl_conns, {NULL}},
        {&ctl_conns, {"--json", "--sort", "listener"}},
        {&ctl_conns, {"--sort", "peer"}},
        {&ctl_conns, {"--listener", "msp"}},
        {&ctl_workers, {NULL}},
        {&ctl_workers, {"--json"}},
        {&ctl_listeners, {NULL}},
        {&ctl_listeners, {"--json"}},
        {&ctl_events, {NULL}},
        {&ctl_events, {"--json"}},
        {&ctl_crashes, {NULL}},
        {&ctl_crashes, {"--json"}},
    };
    size_t i = which % MS_ARRAY_LEN(runs);
    struct ctl ctl = {.dir = dir, .command = runs[i].command};
    char *argv[5] = {(char *)(uintptr_t)ctl.command->name};
    int argc = 1;

    for (size_t k = 0; k < MS_ARRAY_LEN(runs[i].options) && runs[i].options[k] != NULL; k++)
        argv[argc++] = (char *)(uintptr_t)runs[i].options[k];
    (void)runs[i].command->run(&ctl, argc, argv);
}

/* Nothing that a terminal would act on. */
static void
check_output(void)
{
    static char text[OUTPUT_MAX];
    ssize_t n = pread(out_fd, text, sizeof(text), 0);

    for (ssize_t i = 0; i < n; i++)
        if (((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 127)
            abort();
    rewind(stdout);
    if (ftruncate(out_fd, 0) < 0)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    patch(data + 1, n - 1);
    run(data[0]);
    check_output();
    for (size_t i = 0; i < PLACES; i++)
        memcpy(places[i].at, places[i].before, places[i].len);
    return 0;
}

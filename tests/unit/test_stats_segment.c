/* The three halves of the shared memory together, in one process: slots, rows, refusals, a
 * corpse. */
#include "stats_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct endpoint
ipv4(const char *address, uint16_t port)
{
    struct endpoint ep = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (void *)&ep.addr;

    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    inet_pton(AF_INET, address, &in->sin_addr);
    return ep;
}

static struct endpoint
ipv6(const char *address, uint16_t port)
{
    struct endpoint ep = {.len = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 *in = (void *)&ep.addr;

    in->sin6_family = AF_INET6;
    in->sin6_port = htons(port);
    inet_pton(AF_INET6, address, &in->sin6_addr);
    return ep;
}

struct collected {
    unsigned n;
    struct stats_conn_view conns[300];
};

static void
collect(void *arg, const struct stats_conn_view *conn)
{
    struct collected *c = arg;

    if (c->n < MS_ARRAY_LEN(c->conns))
        c->conns[c->n] = *conn;
    c->n++;
}

static void
a_connection_is_read_as_it_was_written(void **state)
{
    struct fixture *f = *state;
    struct endpoint peer = ipv4("127.0.0.1", 50412);
    struct stats_slot *slot = stats_writer_claim(&f->writer, 7, &peer, 1000);
    struct collected got = {0};

    assert_non_null(slot);
    stats_add(&slot->counters.messages, 2);
    stats_add(&slot->counters.bytes_in, 300);
    atomic_store(&slot->state, STATS_CONN_RECEIVING);
    atomic_store(&slot->active_us, 2000);
    stats_reader_conns(&f->reader, collect, &got);
    assert_int_equal(got.n, 1);
    assert_string_equal(got.conns[0].peer, "127.0.0.1:50412");
    assert_int_equal(got.conns[0].worker_index, 3);
    assert_int_equal(got.conns[0].listener, 7);
    assert_int_equal(got.conns[0].state, STATS_CONN_RECEIVING);
    assert_int_equal(got.conns[0].began_us, 1000);
    assert_int_equal(got.conns[0].active_us, 2000);
    assert_int_equal(got.conns[0].counts.messages, 2);
    assert_int_equal(got.conns[0].counts.bytes_in, 300);
    assert_int_equal(got.conns[0].counts.acks, 0);
}

static void
peers_of_all_families_are_shown(void **state)
{
    struct fixture *f = *state;
    struct endpoint six = ipv6("::1", 4711);
    struct endpoint local = {.addr.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
    struct collected got = {0};

    assert_non_null(stats_writer_claim(&f->writer, 0, &six, 1));
    assert_non_null(stats_writer_claim(&f->writer, 0, &local, 1));
    stats_writer_peer_pid(stats_writer_claim(&f->writer, 0, &local, 1), 4711);
    stats_reader_conns(&f->reader, collect, &got);
    assert_int_equal(got.n, 3);
    assert_string_equal(got.conns[0].peer, "[::1]:4711");
    assert_string_equal(got.conns[1].peer, "unix:");
    assert_string_equal(got.conns[2].peer, "unix:pid 4711");
}

static void
a_narrow_counter_stops_at_its_largest_value(void **state)
{
    _Atomic uint32_t cell = UINT32_MAX - 3;

    (void)state;
    stats_add(&cell, 2);
    assert_int_equal(atomic_load(&cell), UINT32_MAX - 1);
    stats_add(&cell, 2);
    assert_int_equal(atomic_load(&cell), UINT32_MAX);
    stats_add(&cell, UINT64_MAX);
    assert_int_equal(atomic_load(&cell), UINT32_MAX);
}

static void
a_slot_given_back_is_used_again_with_counters_at_zero(void **state)
{
    struct fixture *f = *state;
    struct endpoint peer = ipv4("10.0.0.1", 1);
    struct stats_slot *slots[200];
    struct stats_slot *again;
    struct collected got = {0};

    for (size_t i = 0; i < MS_ARRAY_LEN(slots); i++) {
        slots[i] = stats_writer_claim(&f->writer, 0, &peer, 1);
        assert_ptr_equal(slots[i], &f->writer.slots[i]);
        stats_add(&slots[i]->counters.err, 1);
    }
    assert_null(f->writer.free_slots);
    for (size_t i = 0; i < 100; i++)
        stats_writer_release(&f->writer, slots[i]);
    assert_int_equal(atomic_load(&f->writer.block->open), 100);
    for (size_t i = 0; i < 100; i++) {
        again = stats_writer_claim(&f->writer, 0, &peer, 1);
        assert_int_equal(atomic_load(&again->counters.err), 0);
    }
    assert_int_equal(atomic_load(&f->writer.block->slots_used), 200);
    assert_int_equal(atomic_load(&f->writer.block->open), 200);
    stats_reader_conns(&f->reader, collect, &got);
    assert_int_equal(got.n, 200);
    for (unsigned i = 1; i < got.n; i++)
        assert_true(got.conns[i].id != got.conns[i - 1].id);
}

static void
no_more_than_all_slots_are_given_out(void **state)
{
    struct fixture *f = *state;
    struct endpoint peer = ipv4("10.0.0.1", 1);
    struct stats_slot *last = NULL;

    for (unsigned i = 0; i < STATS_SLOTS; i++)
        assert_non_null(last = stats_writer_claim(&f->writer, 0, &peer, 1));
    assert_null(stats_writer_claim(&f->writer, 0, &peer, 1));
    assert_int_equal(atomic_load(&f->writer.block->open), STATS_SLOTS);
    stats_writer_release(&f->writer, last);
    assert_ptr_equal(stats_writer_claim(&f->writer, 0, &peer, 1), last);
}

static void
a_slot_whose_writer_died_half_way_is_left_out(void **state)
{
    struct fixture *f = *state;
    struct endpoint peer = ipv4("10.0.0.1", 1);
    struct stats_slot *first = stats_writer_claim(&f->writer, 0, &peer, 1);
    struct collected got = {0};

    assert_non_null(stats_writer_claim(&f->writer, 0, &peer, 1));
    atomic_fetch_add(&first->seq, 1); /* as killed within stats_writer_claim */
    stats_reader_conns(&f->reader, collect, &got);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.conns[0].id, 2);
}

static void
a_region_is_clean_for_its_next_worker(void **state)
{
    struct fixture *f = *state;
    struct endpoint peer = ipv4("10.0.0.1", 1);
    struct stats_slot *slot = stats_writer_claim(&f->writer, 0, &peer, 1);
    struct stats_place next;
    struct collected got = {0};
    unsigned region = f->place.region;

    atomic_fetch_add(&slot->seq, 1);
    stats_add(&f->writer.block->counters.acks, 5);
    stats_latency(f->writer.block, 100);
    stats_writer_close(&f->writer);
    stats_master_fold(&f->master, &f->place);
    assert_int_equal(stats_master_claim(&f->master, 0, 2, &next), 0);
    assert_int_equal(next.region, region);
    assert_true(next.incarnation > f->place.incarnation);
    assert_int_equal(stats_writer_open(&f->writer, &next), 0);
    assert_int_equal(atomic_load(&f->writer.block->counters.acks), 0);
    assert_int_equal(atomic_load(&f->writer.block->open), 0);
    stats_reader_conns(&f->reader, collect, &got);
    assert_int_equal(got.n, 0);
    assert_non_null(stats_writer_claim(&f->writer, 0, &peer, 1));
    stats_reader_conns(&f->reader, collect, &got);
    assert_int_equal(got.n, 1);
}

static void
folding_counts_a_worker_once(void **state)
{
    struct fixture *f = *state;
    struct stats_totals totals;

    stats_add(&f->writer.block->counters.messages, 41);
    stats_add(&f->writer.block->counters.committed, 40);
    stats_latency(f->writer.block, 1000);
    atomic_store(&f->writer.block->open, 2);
    for (int i = 0; i < 3; i++) {
        stats_reader_totals(&f->reader, &totals);
        assert_int_equal(totals.counts.messages, 41);
        assert_int_equal(totals.counts.committed, 40);
        assert_int_equal(totals.latency[stats_histogram_index(1000)], 1);
        assert_int_equal(totals.open, i == 0 ? 2 : 0);
        stats_master_fold(&f->master, &f->place);
    }
}

static void
a_master_that_died_while_folding_counts_nobody_twice(void **state)
{
    struct fixture *f = *state;
    struct stats_totals totals;

    stats_add(&f->writer.block->counters.messages, 41);
    stats_master_fold(&f->master, &f->place);
    /* as killed after the new totals were made current and before the row was freed */
    atomic_store(&stats_master_worker(&f->master, &f->place)->incarnation, f->place.incarnation);
    stats_reader_totals(&f->reader, &totals);
    assert_int_equal(totals.counts.messages, 41);
}

static void
a_worker_that_died_before_it_began_adds_nothing(void **state)
{
    struct fixture *f = *state;
    struct stats_place second, third;
    struct stats_totals totals;

    stats_add(&f->writer.block->counters.messages, 10);
    stats_master_fold(&f->master, &f->place);
    assert_int_equal(stats_master_claim(&f->master, 0, 1, &second), 0);
    stats_reader_totals(&f->reader, &totals);
    assert_int_equal(totals.counts.messages, 10);
    stats_master_fold(&f->master, &second);
    assert_int_equal(stats_master_claim(&f->master, 0, 1, &third), 0);
    assert_int_equal(third.region, f->place.region);
    stats_reader_totals(&f->reader, &totals);
    assert_int_equal(totals.counts.messages, 10);
}

static void
regions_run_out_and_come_back(void **state)
{
    struct fixture *f = *state;
    struct stats_place places[STATS_REGIONS], one_more;

    places[0] = f->place;
    for (unsigned i = 1; i < STATS_REGIONS; i++)
        assert_int_equal(stats_master_claim(&f->master, i, 1, &places[i]), 0);
    assert_int_equal(stats_master_claim(&f->master, 0, 1, &one_more), -1);
    assert_int_equal(errno, EAGAIN);
    stats_master_fold(&f->master, &places[17]);
    assert_int_equal(stats_master_claim(&f->master, 0, 1, &one_more), 0);
    assert_int_equal(one_more.region, 17);
}

static void
workers_are_listed_by_generation_and_index(void **state)
{
    struct fixture *f = *state;
    struct stats_worker_view rows[4];
    struct stats_place place;
    struct stats_worker *row;

    assert_int_equal(stats_master_claim(&f->master, 1, 2, &place), 0);
    assert_int_equal(stats_master_claim(&f->master, 0, 2, &place), 0);
    row = stats_master_worker(&f->master, &place);
    atomic_store(&row->pid, 4711);
    atomic_store(&row->state, STATS_WORKER_READY);
    stats_add(&f->writer.block->counters.nack1, 9);
    atomic_store(&f->writer.block->reopened, 2);
    atomic_store(&f->writer.block->memory, 4096);
    atomic_store(&f->writer.block->memory_max, 65536);
    assert_int_equal(stats_reader_workers(&f->reader, rows, 4), 3);
    assert_int_equal(rows[0].index, 3);
    assert_int_equal(rows[0].totals.counts.nack1, 9);
    assert_int_equal(rows[0].reopened, 2);
    assert_int_equal(rows[0].totals.memory, 4096);
    assert_int_equal(rows[0].totals.memory_max, 65536);
    assert_int_equal(rows[1].index, 0);
    assert_int_equal(rows[1].pid, 4711);
    assert_int_equal(rows[1].state, STATS_WORKER_READY);
    assert_int_equal(rows[1].totals.counts.nack1, 0);
    assert_int_equal(rows[2].index, 1);
    assert_int_equal(stats_reader_workers(&f->reader, rows, 1), 3);
}

static void
a_worker_is_overfull_beyond_its_fair_share(void **state)
{
    /* Three others with 100 open each: more than (300 + mine) / 4 * 9 / 8 + 1 begins at 119. */
    struct fixture *f = *state;
    struct stats_writer others[3];
    struct stats_place place;

    stats_writer_accepting(&f->writer, true);
    atomic_store(&f->writer.load->open, 1000);
    assert_false(stats_writer_overfull(&f->writer)); /* alone */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(stats_master_claim(&f->master, i, 1, &place), 0);
        assert_int_equal(stats_writer_open(&others[i], &place), 0);
        atomic_store(&others[i].load->open, 100);
    }
    assert_false(stats_writer_overfull(&f->writer)); /* the others do not accept */
    for (unsigned i = 0; i < 3; i++)
        stats_writer_accepting(&others[i], true);
    assert_true(stats_writer_overfull(&f->writer));
    assert_int_equal(stats_writer_open_total(&f->writer), 1300);
    assert_false(stats_writer_overfull(&others[0]));
    atomic_store(&f->writer.load->open, 119);
    assert_true(stats_writer_overfull(&f->writer));
    atomic_store(&f->writer.load->open, 118);
    assert_false(stats_writer_overfull(&f->writer));
    for (unsigned i = 0; i < 3; i++)
        stats_writer_close(&others[i]);
}

static void
a_few_connections_never_make_a_worker_overfull(void **state)
{
    struct fixture *f = *state;
    struct stats_writer other;
    struct stats_place place;

    assert_int_equal(stats_master_claim(&f->master, 0, 1, &place), 0);
    assert_int_equal(stats_writer_open(&other, &place), 0);
    stats_writer_accepting(&other, true);
    stats_writer_accepting(&f->writer, true);
    assert_false(stats_writer_overfull(&f->writer));
    atomic_store(&f->writer.load->open, 2);
    assert_false(stats_writer_overfull(&f->writer));
    atomic_store(&f->writer.load->open, 3);
    assert_true(stats_writer_overfull(&f->writer));
    stats_writer_close(&other);
}

static void
listeners_keep_their_row_over_a_reload(void **state)
{
    struct fixture *f = *state;
    struct stats_listener_view view;
    int a = stats_master_listener(&f->master, -1, "msp://127.0.0.1:0", "127.0.0.1:43117", "msp",
                                  "journal");
    int b = stats_master_listener(&f->master, -1, "msp:///run/x", "unix:/run/x", "msp", "echo");

    assert_true(a >= 0 && b >= 0 && a != b);
    assert_int_equal(stats_master_listener(&f->master, -1, "msp://127.0.0.1:0", "127.0.0.1:43117",
                                           "msp", "discard"),
                     a);
    assert_true(stats_reader_listener(&f->reader, (unsigned)a, &view));
    assert_true(view.active);
    assert_string_equal(view.handler, "discard");
    assert_string_equal(view.address, "127.0.0.1:43117");
    assert_int_equal(view.certificate_until, 0);
    stats_master_listener_until(&f->master, (unsigned)a, 1800000000);
    assert_true(stats_reader_listener(&f->reader, (unsigned)a, &view));
    assert_int_equal(view.certificate_until, 1800000000);
    stats_master_listener_inactive(&f->master, (unsigned)a);
    assert_true(stats_reader_listener(&f->reader, (unsigned)a, &view));
    assert_false(view.active);
    assert_false(stats_reader_listener(&f->reader, 100, &view));
    assert_false(stats_reader_listener(&f->reader, STATS_LISTENERS, &view));
}

static void
a_row_that_a_connection_still_shows_is_the_last_to_be_used_again(void **state)
{
    struct fixture *f = *state;
    struct endpoint peer = ipv4("10.0.0.1", 1);
    char url[32];

    for (unsigned i = 0; i < STATS_LISTENERS; i++) {
        snprintf(url, sizeof(url), "msp://127.0.0.1:%u", 1000 + i);
        assert_int_equal(stats_master_listener(&f->master, -1, url, url + 6, "msp", "echo"), i);
    }
    assert_int_equal(stats_master_listener(&f->master, -1, "msp://x:1", "x:1", "msp", "echo"), -1);
    stats_master_listener_inactive(&f->master, 5);
    stats_master_listener_inactive(&f->master, 9);
    assert_non_null(stats_writer_claim(&f->writer, 5, &peer, 1));
    assert_int_equal(stats_master_listener(&f->master, -1, "msp://x:1", "x:1", "msp", "echo"), 9);
    assert_int_equal(stats_master_listener(&f->master, -1, "msp://x:2", "x:2", "msp", "echo"), 5);
}

static void
a_verdict_is_in_place_before_it_is_counted(void **state)
{
    struct fixture *f = *state;
    char longer[2000];

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    stats_master_reload(&f->master);
    assert_int_equal(atomic_load(&f->reader.control->reload_requests), 1);
    assert_int_equal(atomic_load(&f->reader.control->reloads), 0);
    stats_master_verdict(&f->master, false, "line 3: no such option");
    assert_int_equal(atomic_load(&f->reader.control->reloads), 1);
    assert_int_equal(atomic_load(&f->reader.control->reload_verdict), STATS_VERDICT_FAILED);
    assert_string_equal(f->reader.control->reload_text, "line 3: no such option");
    stats_master_verdict(&f->master, true, longer);
    assert_int_equal(atomic_load(&f->reader.control->reload_verdict), STATS_VERDICT_OK);
    assert_int_equal(strlen(f->reader.control->reload_text), 511);
}

static void
a_corpse_can_be_read(void **state)
{
    struct fixture *f = *state;
    struct endpoint peer = ipv4("10.0.0.1", 1);
    struct stats_reader late;
    struct stats_totals totals;
    struct collected got = {0};
    char error[256];

    stats_add(&f->writer.block->counters.messages, 77);
    assert_non_null(stats_writer_claim(&f->writer, 0, &peer, 1));
    stats_writer_close(&f->writer);
    stats_master_close(&f->master);
    assert_int_equal(stats_reader_open(&late, f->dir, error), 0);
    assert_true(stats_reader_lock_held(f->dir) <= 0);
    stats_reader_totals(&late, &totals);
    assert_int_equal(totals.counts.messages, 77);
    stats_reader_conns(&late, collect, &got);
    assert_int_equal(got.n, 1);
    stats_reader_close(&late);
}

static void
readers_of_an_earlier_run_keep_what_they_opened(void **state)
{
    struct fixture *f = *state;
    struct stats_reader other;
    struct stats_totals totals;
    char error[256];

    stats_add(&f->writer.block->counters.messages, 5);
    stats_writer_close(&f->writer);
    stats_master_close(&f->master);
    assert_int_equal(stats_master_open(&f->master, -1, f->dir, (gid_t)-1, error), 0);
    assert_int_equal(stats_reader_open(&other, f->dir, error), -1);
    assert_int_equal(errno, EAGAIN);
    assert_non_null(strstr(error, "not ready"));
    stats_master_ready(&f->master);
    assert_int_equal(stats_reader_open(&other, f->dir, error), 0);
    stats_reader_totals(&other, &totals);
    assert_int_equal(totals.counts.messages, 0);
    stats_reader_totals(&f->reader, &totals);
    assert_int_equal(totals.counts.messages, 5);
    assert_memory_not_equal(f->reader.control->boot_id, other.control->boot_id, 16);
    stats_reader_close(&other);
}

static void
files_are_for_owner_and_group(void **state)
{
    static const char *const names[] = {"control", "stats.0"};
    struct fixture *f = *state;
    struct stat st;
    char path[256];

    for (size_t i = 0; i < 2; i++) {
        path_of(f, names[i], path);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
    }
    assert_true(st.st_blocks * 512 < 1 << 20); /* sparse */
}

static void
another_layout_is_refused(void **state)
{
    static const struct {
        size_t offset;
        const char *says;
        int error;
    } cases[] = {{offsetof(struct stats_control, magic), "not a control file", EBADMSG},
                 {offsetof(struct stats_control, version), "layout version 99", EPROTONOSUPPORT},
                 {offsetof(struct stats_control, size), "layout version", EPROTONOSUPPORT}};
    struct fixture *f = *state;
    struct stats_reader other;
    const uint32_t strange = 99;
    uint32_t before;
    char path[256], error[256];
    int fd;

    path_of(f, "control", path);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_int_equal(pread(fd, &before, 4, (off_t)cases[i].offset), 4);
        assert_int_equal(pwrite(fd, &strange, 4, (off_t)cases[i].offset), 4);
        assert_int_equal(stats_reader_open(&other, f->dir, error), -1);
        assert_int_equal(errno, cases[i].error);
        assert_non_null(strstr(error, cases[i].says));
        assert_int_equal(pwrite(fd, &before, 4, (off_t)cases[i].offset), 4);
    }
    assert_int_equal(ftruncate(fd, 10), 0);
    assert_int_equal(stats_reader_open(&other, f->dir, error), -1);
    assert_int_equal(errno, EBADMSG);
    close(fd);
    unlink(path);
    assert_int_equal(stats_reader_open(&other, f->dir, error), -1);
    assert_int_equal(errno, ENOENT);
    assert_non_null(strstr(error, "no msockd has run"));
}

static void
a_missing_directory_is_said_by_both_halves(void **state)
{
    struct stats_master master;
    struct stats_reader reader;
    char error[256];

    (void)state;
    assert_int_equal(stats_master_open(&master, -1, "/nonexistent/x", (gid_t)-1, error), -1);
    assert_int_equal(errno, ENOENT);
    assert_non_null(strstr(error, "/nonexistent/x"));
    assert_int_equal(stats_reader_open(&reader, "/nonexistent/x", error), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(stats_reader_lock_held("/nonexistent/x"), 0);
}

static void
a_master_that_cannot_begin_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    struct stats_master second;
    struct stats_reader reader;
    char obstacle[256], error[256];

    path_of(f, "control.new", obstacle);
    assert_int_equal(mkdir(obstacle, 0700), 0);
    assert_int_equal(stats_master_open(&second, -1, f->dir, (gid_t)-1, error), -1);
    assert_non_null(strstr(error, "cannot create control"));
    assert_int_equal(rmdir(obstacle), 0);
    assert_int_equal(stats_reader_open(&reader, f->dir, error), 0); /* of the run before */
    stats_reader_close(&reader);
}

static void
the_lock_tells_whether_the_master_lives(void **state)
{
    struct fixture *f = *state;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[256];
    int fd;

    assert_true(stats_reader_lock_held(f->dir) <= 0);
    path_of(f, "lock", path);
    fd = open(path, O_RDWR | O_CREAT, 0640);
    assert_true(fd >= 0);
    assert_true(stats_reader_lock_held(f->dir) <= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(stats_reader_lock_held(f->dir), 1);
    close(fd);
    assert_true(stats_reader_lock_held(f->dir) <= 0);
}

static void
a_master_that_is_gone_before_it_was_ready_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stats_reader reader;
    char path[256], error[256];
    int fd;

    path_of(f, "lock", path);
    fd = open(path, O_RDWR | O_CREAT, 0640);
    assert_true(fd >= 0);
    atomic_store(&f->master.control->ready, 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(stats_reader_open(&reader, f->dir, error), -1);
    assert_int_equal(errno, EAGAIN);
    close(fd);
    assert_int_equal(stats_reader_open(&reader, f->dir, error), -1);
    assert_int_equal(errno, ESRCH);
    assert_non_null(strstr(error, "ended before it was ready"));
}

static void
a_worker_that_cuts_its_file_short_costs_its_own_numbers_alone(void **state)
{
    struct fixture *f = *state;
    struct stats_worker_view rows[3];
    struct stats_totals totals;
    struct collected got = {0};
    struct stats_place bad, next;
    struct stats_writer writer;

    stats_add(&f->writer.block->counters.messages, 5);
    assert_int_equal(stats_master_claim(&f->master, 1, 1, &bad), 0);
    assert_int_equal(stats_writer_open(&writer, &bad), 0);
    stats_add(&writer.block->counters.messages, 7);
    stats_reader_totals(&f->reader, &totals);
    assert_int_equal(totals.counts.messages, 12);
    assert_int_equal(f->reader.unreadable, 0);

    assert_int_equal(ftruncate(bad.stats_fd, 0), 0);
    stats_reader_totals(&f->reader, &totals);
    assert_int_equal(totals.counts.messages, 5);
    assert_int_equal(f->reader.unreadable, 1);
    assert_int_equal(stats_reader_workers(&f->reader, rows, 3), 2);
    assert_int_equal(f->reader.unreadable, 1);
    stats_reader_conns(&f->reader, collect, &got);
    assert_int_equal(got.n, 0);
    assert_int_equal(f->reader.unreadable, 1);
    assert_int_equal(stats_writer_open_total(&f->writer), 0);
    stats_writer_close(&writer);
    stats_master_fold(&f->master, &bad);

    assert_int_equal(stats_master_claim(&f->master, 1, 1, &next), 0);
    assert_int_equal(stats_writer_open(&writer, &next), 0);
    stats_add(&writer.block->counters.messages, 2);
    stats_reader_totals(&f->reader, &totals);
    assert_int_equal(totals.counts.messages, 7);
    assert_int_equal(f->reader.unreadable, 0);
    stats_writer_close(&writer);
}

/* Returns what the child that would be the worker of place got for its try. */
static int
try_in_child(struct fixture *f, const struct stats_place *place,
             int (*attempt)(struct fixture *f, const struct stats_place *place))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct stats_place own = *place;

        _exit(regions_attach(&own.loads, own.region) == 0 ? attempt(f, &own) : 99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* By a system call, which fails where a store would be a signal. */
static int
write_load(const struct stats_place *place, unsigned region)
{
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

    return read(fd, regions_own(&place->loads, region), sizeof(uint64_t)) > 0 ? 0 : errno;
}

static int
write_own_load(struct fixture *f, const struct stats_place *place)
{
    (void)f;
    return write_load(place, place->region);
}

static int
write_neighbours_load(struct fixture *f, const struct stats_place *place)
{
    return write_load(place, f->place.region);
}

/* 0 where any way to a writable page is open. */
static int
take_neighbours_memory(struct fixture *f, const struct stats_place *place)
{
    void *neighbour = regions_own(&place->loads, f->place.region);

    return mprotect(neighbour, place->loads.size, PROT_READ | PROT_WRITE) == 0 ||
           place->loads.fd >= 0 || place->loads.read_fd >= 0;
}

/* Whatever a worker does with the descriptors before it lets go of them. */
static int
cut_the_memory_short(struct fixture *f, const struct stats_place *place)
{
    (void)place;
    return ftruncate(f->place.loads.fd, 0) == 0 || ftruncate(f->place.loads.fd, 1 << 30) == 0;
}

static void
a_worker_can_write_nobodys_memory_but_its_own(void **state)
{
    struct fixture *f = *state;
    struct stats_place place;

    assert_int_equal(stats_master_claim(&f->master, 4, 1, &place), 0);
    assert_int_equal(try_in_child(f, &place, write_own_load), 0);
    assert_int_equal(try_in_child(f, &place, write_neighbours_load), EFAULT);
    assert_int_equal(try_in_child(f, &place, take_neighbours_memory), 0);
    assert_int_equal(try_in_child(f, &place, cut_the_memory_short), 0);
}

static void
a_full_table_of_listeners_can_be_searched_in_a_stats_file_cut_short(void **state)
{
    struct fixture *f = *state;
    char address[32];
    int id = 0;

    for (unsigned i = 0; i < STATS_LISTENERS; i++) {
        snprintf(address, sizeof(address), "127.0.0.1:%u", i + 1);
        id = stats_master_listener(&f->master, -1, "msp://x:1", address, "msp", "echo");
        assert_int_equal(id, i);
        stats_master_listener_inactive(&f->master, i);
    }
    assert_int_equal(ftruncate(f->place.stats_fd, 0), 0);
    assert_int_equal(stats_master_listener(&f->master, -1, "msp://y:1", "y", "msp", "echo"), 0);
    /* The block alone: the slots that it says are used are beyond the end. */
    stats_master_listener_inactive(&f->master, 0);
    assert_int_equal(ftruncate(f->place.stats_fd, STATS_BLOCK_SIZE), 0);
    atomic_store(&f->writer.block->slots_used, 0xffffffffu);
    assert_int_equal(stats_master_listener(&f->master, -1, "msp://z:1", "z", "msp", "echo"), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_connection_is_read_as_it_was_written),
        TEST(peers_of_all_families_are_shown),
        TEST(a_narrow_counter_stops_at_its_largest_value),
        TEST(a_slot_given_back_is_used_again_with_counters_at_zero),
        TEST(no_more_than_all_slots_are_given_out),
        TEST(a_slot_whose_writer_died_half_way_is_left_out),
        TEST(a_region_is_clean_for_its_next_worker),
        TEST(folding_counts_a_worker_once),
        TEST(a_master_that_died_while_folding_counts_nobody_twice),
        TEST(a_worker_that_died_before_it_began_adds_nothing),
        TEST(regions_run_out_and_come_back),
        TEST(workers_are_listed_by_generation_and_index),
        TEST(a_worker_is_overfull_beyond_its_fair_share),
        TEST(a_few_connections_never_make_a_worker_overfull),
        TEST(listeners_keep_their_row_over_a_reload),
        TEST(a_row_that_a_connection_still_shows_is_the_last_to_be_used_again),
        TEST(a_verdict_is_in_place_before_it_is_counted),
        TEST(a_corpse_can_be_read),
        TEST(readers_of_an_earlier_run_keep_what_they_opened),
        TEST(files_are_for_owner_and_group),
        TEST(another_layout_is_refused),
        TEST(a_missing_directory_is_said_by_both_halves),
        TEST(a_master_that_cannot_begin_leaves_nothing_behind),
        TEST(the_lock_tells_whether_the_master_lives),
        TEST(a_master_that_is_gone_before_it_was_ready_is_not_waited_for),
        TEST(a_worker_that_cuts_its_file_short_costs_its_own_numbers_alone),
        TEST(a_worker_can_write_nobodys_memory_but_its_own),
        TEST(a_full_table_of_listeners_can_be_searched_in_a_stats_file_cut_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The wall clock is set back and forth by hours under a running daemon: nothing but the times that
 * are written follows it. */
#include "daemon.h"
#include "journal.h"
#include "stats.h"

#include "support/signals.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOUR 3600

static unsigned sent;

/* Sends one message, whose key is its number. */
static void
send_one(const struct daemon *d)
{
    struct answer a;
    struct peer p;
    char key[16];

    snprintf(key, sizeof(key), "%06u", sent++);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, key, "x", 1, &a), ANSWER_ACK);
    peer_close(&p);
}

static int
only_segments(const struct dirent *entry)
{
    return strstr(entry->d_name, ".ndjson") != NULL;
}

/* Do the ids rise with the keys? Returns how many lines there are. */
static unsigned
check_lines(const char *text, char last_id[27], unsigned from)
{
    char id[27];
    unsigned key, n = 0;

    for (const char *line = text; line[0] != '\0'; line = strchr(line, '\n') + 1, n++) {
        assert_int_equal(sscanf(line, "{\"id\":\"%26[0-9A-Z]\"", id), 1);
        assert_int_equal(sscanf(strstr(line, "\"key\":"), "\"key\":\"%u\"", &key), 1);
        assert_int_equal(key, from + n);
        if (strcmp(last_id, id) >= 0)
            fail_msg("the id of message %u, %s, does not follow %s", key, id, last_id);
        memcpy(last_id, id, sizeof(id));
    }
    return n;
}

/* All messages, in the order in which they were sent, are in the segments in the order of their
 * names. Returns how many segments there are. */
static int
check_order(const struct daemon *d)
{
    char dir[HARNESS_PATH_LEN], path[HARNESS_PATH_LEN], last_id[27] = "", *text;
    struct dirent **names;
    unsigned lines = 0;
    int n;

    harness_join(dir, d->data_dir, "journal");
    n = scandir(dir, &names, only_segments, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        harness_join(path, dir, names[i]->d_name);
        text = harness_read_file(path, NULL);
        assert_non_null(text);
        lines += check_lines(text, last_id, lines);
        free(text);
        free(names[i]);
    }
    free(names);
    assert_int_equal(lines, sent);
    return n;
}

static void
replace_worker(struct daemon *d)
{
    struct proc_list before, now;

    WAIT_FOR(daemon_has_workers(d, 1), 20000); /* that of before a reload has left */
    daemon_workers(d, &before);
    assert_int_equal(before.count, 1);
    signal_send(before.pid[0], SIGKILL);
    do
        daemon_workers(d, &now);
    while (now.count != 1 || now.pid[0] == before.pid[0]);
}

static void
restart(struct daemon *d)
{
    daemon_kill(d);
    daemon_launch(d);
}

static void
ids_and_names_of_segments_sort_in_the_order_of_writing(void **state)
{
    static const int64_t shifts[] = {0, HOUR, 0, -HOUR, 3 * HOUR, -2 * HOUR, 40 * 365 * 24 * HOUR};
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .clock = true, .errors_expected = true, .set = {"segment_size=64K"}});

    (void)state;
    sent = 0;
    for (size_t i = 0; i < MS_ARRAY_LEN(shifts); i++) {
        daemon_shift_clock(d, shifts[i]);
        send_one(d);
        daemon_reload(d);
        send_one(d);
        daemon_shift_clock(d, shifts[i] - HOUR);
        send_one(d);
        replace_worker(d);
        send_one(d);
        daemon_shift_clock(d, shifts[i] - 2 * HOUR);
        send_one(d);
        restart(d);
        send_one(d);
    }
    daemon_shift_clock(d, 0);
    restart(d);
    send_one(d);
    assert_true(daemon_logged(d, "behind the newest record of the journal"));
    daemon_stop(d);
    check_order(d);
}

#define WORKERS    4
#define PHASE_SIZE 32

/* Sends messages whose key begins with the number of the phase, over connections that are open at
 * once. */
static void
send_phase(const struct daemon *d, unsigned phase, size_t n)
{
    struct peer peers[PHASE_SIZE];
    struct answer a;
    char key[32];

    usleep(20000); /* longer than the milliseconds by which workers may differ */
    for (size_t i = 0; i < n; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    for (size_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "%03u%03zu", phase, i);
        assert_int_equal(peer_send_plain(&peers[i], key, "x", 1, &a), ANSWER_ACK);
    }
    for (size_t i = 0; i < n; i++)
        peer_close(&peers[i]);
    sent += (unsigned)n;
}

/* As a consumer that takes all there is, also what is still written. */
static void
take_segments(const struct daemon *d, const char *to)
{
    char dir[HARNESS_PATH_LEN], from_path[HARNESS_PATH_LEN], to_path[HARNESS_PATH_LEN];
    struct dirent **names;
    int n;

    harness_join(dir, d->data_dir, "journal");
    n = scandir(dir, &names, only_segments, alphasort);
    for (int i = 0; i < n; i++) {
        harness_join(from_path, dir, names[i]->d_name);
        harness_join(to_path, to, names[i]->d_name);
        assert_int_equal(rename(from_path, to_path), 0);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

static void
kill_one_of_many(const struct daemon *d)
{
    struct proc_list before, now;
    bool there;

    daemon_workers(d, &before);
    assert_int_equal(before.count, WORKERS);
    signal_send(before.pid[0], SIGKILL);
    do {
        daemon_workers(d, &now);
        there = false;
        for (size_t i = 0; i < now.count; i++)
            there = there || now.pid[i] == before.pid[0];
    } while (there || now.count != WORKERS);
}

static int
compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted by id or by name, each line is of the phase of the one before or of a later one. */
static void
check_phases(char **lines, size_t n)
{
    unsigned phase, last = 0;

    qsort(lines, n, sizeof(*lines), compare_lines);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sscanf(strrchr(lines[i], ' '), "%u", &phase), 1);
        if (phase < last)
            fail_msg("%s sorts behind one of phase %u", lines[i], last);
        last = phase;
        free(lines[i]);
    }
    free(lines);
}

/* "<id or name> <phase>" */
static char *
phase_line(const char *name, const char *line)
{
    char *out = malloc(80);

    assert_non_null(out);
    snprintf(out, 80, "%.26s %u", name,
             (unsigned)strtoul(strstr(line, "\"key\":\"") + 7, NULL, 10) / 1000);
    return out;
}

static void
check_taken(const char *dir)
{
    char path[HARNESS_PATH_LEN], **ids = calloc(sent, sizeof(*ids)), **segments, *text;
    struct dirent **names;
    int n = scandir(dir, &names, only_segments, alphasort);
    size_t count = 0;

    assert_true(n > 0);
    segments = calloc((size_t)n, sizeof(*segments));
    assert_true(ids != NULL && segments != NULL);
    for (int i = 0; i < n; i++) {
        harness_join(path, dir, names[i]->d_name);
        text = harness_read_file(path, NULL);
        assert_true(text != NULL && text[0] != '\0');
        segments[i] = phase_line(names[i]->d_name, text);
        for (const char *line = text; line[0] != '\0'; line = strchr(line, '\n') + 1) {
            assert_true(count < sent);
            ids[count++] = phase_line(line + strlen("{\"id\":\""), line);
        }
        free(text);
        free(names[i]);
    }
    free(names);
    assert_int_equal(count, sent);
    check_phases(ids, count);
    check_phases(segments, (size_t)n);
}

/* Also of those that have written nothing before, or find no segment when they begin. */
static void
ids_and_names_of_all_workers_follow_each_other(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = WORKERS, .clock = true, .errors_expected = true});
    char taken[HARNESS_PATH_LEN];

    (void)state;
    sent = 0;
    harness_join(taken, d->dir, "taken");
    assert_int_equal(mkdir(taken, 0700), 0);
    send_phase(d, 1, 1);
    daemon_shift_clock(d, -HOUR);
    send_phase(d, 2, PHASE_SIZE);
    daemon_shift_clock(d, HOUR);
    send_phase(d, 3, PHASE_SIZE);
    daemon_shift_clock(d, 0);
    daemon_reload(d);
    send_phase(d, 4, PHASE_SIZE);
    daemon_shift_clock(d, -HOUR);
    take_segments(d, taken);
    daemon_reload(d);
    send_phase(d, 5, PHASE_SIZE);
    daemon_shift_clock(d, -2 * HOUR);
    restart(d); /* behind the newest id */
    send_phase(d, 6, PHASE_SIZE);
    take_segments(d, taken);
    kill_one_of_many(d);
    send_phase(d, 7, PHASE_SIZE);
    daemon_stop(d);
    take_segments(d, taken);
    check_taken(taken);
}

/* At the first moment of 1970 there is no time before. */
static void
a_clock_that_begins_anew_is_no_end(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 1, .clock = true});

    (void)state;
    sent = 0;
    daemon_shift_clock(d, -(int64_t)time(NULL));
    daemon_launch(d);
    send_one(d);
    daemon_shift_clock(d, 0);
    send_one(d);
    daemon_reload(d);
    daemon_shift_clock(d, -(int64_t)time(NULL));
    send_one(d);
    daemon_stop(d);
    check_order(d);
}

/* A member of each object in the array is a time that may have passed since the test began. */
static void
check_ages(json_t *rows, const char *name)
{
    json_t *row;
    size_t i;

    assert_true(json_array_size(rows) > 0);
    json_array_foreach(rows, i, row)
    {
        double age = json_number_value(json_object_get(row, name));

        if (age < 0 || age > HOUR / 2)
            fail_msg("%s is %g s", name, age);
    }
}

static void
check_statistics(const struct daemon *d)
{
    json_t *stats = stats_read(d, "stats"), *conns = stats_read(d, "conns"), *list = json_array();

    json_array_append(list, stats);
    check_ages(list, "uptime");
    check_ages(json_object_get(stats, "workers"), "age");
    check_ages(conns, "age");
    check_ages(conns, "idle");
    json_decref(list);
    json_decref(stats);
    json_decref(conns);
}

static void
no_deadline_moves_and_ages_stay_sane(void **state)
{
    static const int64_t shifts[] = {HOUR, -HOUR, 2 * HOUR, 0};
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .clock = true,
        .set = {"timeout=600s", "idle_timeout=600s", "segment_age=20m", "min_rate=0"}});
    struct outgoing m = {
        .kind = 'A', .value = "000000", .value_len = 6, .body = "0123456789", .len = 10};
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    size_t n = wire_first(packet, &m);
    struct peer busy;
    struct answer a;

    (void)state;
    sent = 1;
    peer_connect(&busy, &d->listeners[0]);
    assert_int_equal(peer_write(&busy, packet, n / 2), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == n / 2, 20000);
    for (size_t i = 0; i < MS_ARRAY_LEN(shifts); i++) {
        daemon_shift_clock(d, shifts[i]);
        check_statistics(d);
    }
    daemon_shift_clock(d, 2 * HOUR);
    assert_int_equal(peer_write(&busy, packet + n / 2, n - n / 2), 0);
    assert_int_equal(peer_answer(&busy, &a), ANSWER_ACK);
    assert_int_equal(peer_write(&busy, packet, wire_trailer(packet, &m)), 0);
    assert_int_equal(peer_answer(&busy, &a), ANSWER_ACK);
    for (size_t i = 0; i < MS_ARRAY_LEN(shifts); i++) {
        daemon_shift_clock(d, shifts[i]);
        send_one(d);
    }
    daemon_stop(d);
    assert_int_equal(check_order(d), 1); /* by its age, no segment was left */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(ids_and_names_of_segments_sort_in_the_order_of_writing),
        SYSTEM_TEST(ids_and_names_of_all_workers_follow_each_other),
        SYSTEM_TEST(a_clock_that_begins_anew_is_no_end),
        SYSTEM_TEST(no_deadline_moves_and_ages_stay_sane),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

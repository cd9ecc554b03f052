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
#include <time.h>

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
    for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
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
    assert_true(daemon_logged(d, "behind the newest record of the journal"));
    daemon_stop(d);
    check_order(d);
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
    for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
        daemon_shift_clock(d, shifts[i]);
        check_statistics(d);
    }
    daemon_shift_clock(d, 2 * HOUR);
    assert_int_equal(peer_write(&busy, packet + n / 2, n - n / 2), 0);
    assert_int_equal(peer_answer(&busy, &a), ANSWER_ACK);
    assert_int_equal(peer_write(&busy, packet, wire_trailer(packet, &m)), 0);
    assert_int_equal(peer_answer(&busy, &a), ANSWER_ACK);
    for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
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
        SYSTEM_TEST(a_clock_that_begins_anew_is_no_end),
        SYSTEM_TEST(no_deadline_moves_and_ages_stay_sane),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

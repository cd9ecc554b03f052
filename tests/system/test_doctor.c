/* Checks of `msockctl doctor` that a test can really break: the same world is right first and then
 * wrong in one thing. */
#include "faults.h"
#include "patient.h"
#include "stats.h"
#include "support/signals.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
few_descriptors_are_wrong(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .set = {"max_connections=100"}});
    struct patient p = {.runtime_dir = d->runtime_dir};

    (void)state;
    patient_expect_fine(&p, "descriptors");
    daemon_stop(d);
    d = daemon_start(
        &(struct daemon_options){.workers = 1, .files = 300, .set = {"max_connections=100"}});
    p.runtime_dir = d->runtime_dir;
    patient_expect_wrong(&p, "descriptors", "needs 356");
    daemon_stop(d);
}

static void
a_refused_system_call_is_wrong(void **state)
{
    struct patient p = {0};

    (void)state;
    patient_expect_fine(&p, "kernel");
    p.how.refused = (struct refused){.error = ENOSYS, .count = 1, .calls = {SYS_openat2}};
    patient_expect_wrong(&p, "kernel", "openat2");
}

/* --- the daemon --- */

static void
a_msockd_that_is_gone_is_wrong(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const struct patient p = {.runtime_dir = d->runtime_dir};

    (void)state;
    patient_expect_fine(&p, "running");
    daemon_stop(d);
    patient_expect_wrong(&p, "running", "systemctl start");
}

/* Killed until the pause before the next one is long enough to be seen. */
static void
workers_that_die_are_wrong(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .errors_expected = true});
    const struct patient p = {.runtime_dir = d->runtime_dir};
    struct run_result result = {.status = 0};
    struct proc_list workers;

    (void)state;
    patient_expect_fine(&p, "workers");
    patient_expect_fine(&p, "restarts");
    for (unsigned i = 0; i < 30 && result.status != 1; i++) {
        WAIT_FOR(daemon_has_workers(d, 1), 20000);
        daemon_workers(d, &workers);
        signal_send(workers.pid[0], SIGKILL);
        WAIT_FOR(!proc_alive(workers.pid[0]), 10000);
        run_result_free(&result);
        result = patient_look(&p, "workers");
    }
    assert_int_equal(result.status, 1);
    assert_non_null(strstr(result.out, "0 of 1"));
    run_result_free(&result);
    WAIT_FOR(daemon_has_workers(d, 1), 20000);
    patient_expect_wrong(&p, "restarts", "replaced");
    daemon_stop(d);
}

static void
a_reload_that_failed_is_wrong(void **state)
{
    static const char right[] = "listen = {\"msp://127.0.0.1:0\"}\n";
    struct daemon *d =
        daemon_start(&(struct daemon_options){.config = right, .errors_expected = true});
    const struct patient p = {.runtime_dir = d->runtime_dir};
    struct run_result result;

    (void)state;
    patient_expect_fine(&p, "reload");
    patient_expect_fine(&p, "configuration");
    daemon_configure(d, "workers = none\n");
    result = daemon_control(d, "reload", NULL);
    assert_int_equal(result.status, 78);
    run_result_free(&result);
    patient_expect_wrong(&p, "reload", "workers");
    patient_expect_wrong(&p, "configuration", "msockd -t -c");
    daemon_configure(d, right);
    daemon_reload(d);
    patient_expect_fine(&p, "reload");
    daemon_stop(d);
}

static bool
relay_lags(const struct daemon *d)
{
    json_t *rows = stats_read(d, "relay");
    bool lags = json_integer_value(json_object_get(json_array_get(rows, 0), "lag_records")) > 0;

    json_decref(rows);
    return lags;
}

static void
a_relay_that_cannot_relay_is_wrong(void **state)
{
    struct daemon *d;
    struct patient p = {0};
    struct answer a;
    struct peer peer;

    (void)state;
    if (!harness_is_built("msockd_nats.so"))
        skip();
    d = daemon_start(&(struct daemon_options){
        .workers = 1, .set = {"relay=nats://127.0.0.1:1?stream=S&subject=s"}});
    p.runtime_dir = d->runtime_dir;
    patient_expect_fine(&p, "relay");
    peer_connect(&peer, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&peer, NULL, "x", 1, &a), ANSWER_ACK);
    WAIT_FOR(relay_lags(d), 20000);
    patient_expect_wrong(&p, "relay", "1 records behind: ");
    daemon_stop(d);
}

static void
a_replaced_program_is_wrong(void **state)
{
    char dir[HARNESS_PATH_LEN], program[HARNESS_PATH_LEN], line[3 * HARNESS_PATH_LEN];
    const char *argv[] = {program, "-r", dir, "-d", dir, "-l", "msp://127.0.0.1:0",
                          "-w",    "1",  NULL};
    const struct patient p = {.runtime_dir = dir};
    struct run_result result = {.status = 1};
    struct running r;

    (void)state;
    harness_directory(dir);
    harness_join(program, dir, "msockd");
    snprintf(line, sizeof(line), "cp '%s' '%s'", harness_program("msockd"), program);
    assert_int_equal(system(line), 0);
    run_start(&r, argv, NULL);
    for (struct waiting w = waiting_begin(20000); result.status != 0 && waiting_more(&w);) {
        run_result_free(&result);
        result = patient_look(&p, "running");
    }
    run_result_free(&result);
    patient_expect_fine(&p, "program");
    assert_int_equal(unlink(program), 0);
    patient_expect_wrong(&p, "program", "restart");
    signal_send(r.pid, SIGTERM);
    run_finish(&r, 20000, &result);
    run_result_free(&result);
}

/* Its current directory is / then; relative paths begin where it was started. */
static void
in_the_background_relative_paths_are_found(void **state)
{
    static const char text[] = "workers = 1\nlisten = \"msp://127.0.0.1:0\"\ndata_dir = data\n";
    char dir[HARNESS_PATH_LEN], config[HARNESS_PATH_LEN], line[3 * HARNESS_PATH_LEN];
    const struct patient p = {.runtime_dir = dir};

    (void)state;
    harness_directory(dir);
    harness_join(config, dir, "msockd.conf");
    harness_write_file(config, text, strlen(text));
    snprintf(line, sizeof(line), "cd '%s' && '%s' -D -r . -c msockd.conf", dir,
             harness_program("msockd"));
    assert_int_equal(system(line), 0);
    patient_expect_fine(&p, "configuration");
    patient_expect_fine(&p, "data-directory");
    snprintf(line, sizeof(line), "'%s' -r '%s' stop >/dev/null", harness_program("msockctl"), dir);
    assert_int_equal(system(line), 0);
}

/* A worker that was stopped when its master died. */
static void
a_process_of_an_earlier_msockd_is_wrong(void **state)
{
    struct proc_list workers;
    struct daemon *d;
    struct patient p = {0};

    (void)state;
    harness_need_root();
    d = daemon_start(&(struct daemon_options){.workers = 1});
    p.runtime_dir = d->runtime_dir;
    patient_expect_fine(&p, "leftovers");
    daemon_workers(d, &workers);
    proc_stop(workers.pid[0]);
    daemon_kill_master(d);
    daemon_launch(d);
    patient_expect_wrong(&p, "leftovers", "earlier msockd");
    proc_go_on(workers.pid[0]);
    WAIT_FOR(!proc_alive(workers.pid[0]), 20000);
    patient_expect_fine(&p, "leftovers");
    daemon_stop(d);
}

static void
a_log_that_was_moved_away_is_wrong(void **state)
{
    char dir[HARNESS_PATH_LEN], config[HARNESS_PATH_LEN], log[HARNESS_PATH_LEN];
    char text[4 * HARNESS_PATH_LEN], moved[HARNESS_PATH_LEN];
    const char *argv[] = {harness_program("msockd"), "-c", config, NULL};
    const struct patient p = {.runtime_dir = dir};
    struct run_result result = {.status = 1};
    struct running r;

    (void)state;
    harness_directory(dir);
    harness_join(log, dir, "log");
    harness_join(moved, dir, "log.1");
    harness_join(config, dir, "msockd.conf");
    snprintf(text, sizeof(text),
             "workers = 1\nlisten = {\"msp://127.0.0.1:0\"}\nlog_file = \"%s\"\n"
             "data_dir = \"%s/data\"\nruntime_dir = \"%s\"\n",
             log, dir, dir);
    harness_write_file(config, text, strlen(text));
    run_start(&r, argv, NULL);
    for (struct waiting w = waiting_begin(20000); result.status != 0 && waiting_more(&w);) {
        run_result_free(&result);
        result = patient_look(&p, "running");
    }
    run_result_free(&result);
    patient_expect_fine(&p, "log-file");
    assert_int_equal(rename(log, moved), 0);
    patient_expect_wrong(&p, "log-file", "reopen");
    signal_send(r.pid, SIGTERM);
    run_finish(&r, 20000, &result);
    run_result_free(&result);
}

static void
counters_that_should_be_zero_are_judged(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1, .set = {"max_connections=1", "dedup_max=1"}});
    const struct patient p = {.runtime_dir = d->runtime_dir};
    struct answer a;
    struct peer one, two;
    char id[16];

    (void)state;
    patient_expect_fine(&p, "refused");
    patient_expect_fine(&p, "damaged-packets");
    patient_expect_fine(&p, "forgotten-ids");
    peer_connect(&one, &d->listeners[0]);
    one.spoil_crc = 1;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "id-%u", i);
        assert_int_equal(peer_send_plain(&one, id, "x", 1, &a), ANSWER_ACK);
    }
    peer_connect(&two, &d->listeners[0]);
    (void)peer_answer(&two, &a);
    WAIT_FOR(stats_total(d, "refused") > 0, 10000);
    patient_expect_wrong(&p, "refused", "max_connections");
    patient_expect_wrong(&p, "damaged-packets", "1 packets");
    patient_expect_wrong(&p, "forgotten-ids", "dedup_max");
    daemon_stop(d);
}

/* --- configuration and files --- */

static void
no_sync_is_wrong(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct patient p = {.runtime_dir = d->runtime_dir};

    (void)state;
    patient_expect_fine(&p, "sync");
    daemon_stop(d);
    d = daemon_start(&(struct daemon_options){.workers = 1, .set = {"sync=no"}});
    p.runtime_dir = d->runtime_dir;
    patient_expect_wrong(&p, "sync", "power cut");
    daemon_stop(d);
}

static void
directories_that_others_may_write_are_wrong(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const struct patient p = {.runtime_dir = d->runtime_dir};
    char files[HARNESS_PATH_LEN];

    (void)state;
    patient_expect_fine(&p, "data-directory");
    patient_expect_fine(&p, "runtime-directory");
    harness_join(files, d->data_dir, "files");
    assert_int_equal(chmod(files, 0770), 0);
    assert_int_equal(chmod(d->runtime_dir, 0777), 0);
    patient_expect_wrong(&p, "data-directory", "chmod go-w ");
    patient_expect_wrong(&p, "data-directory", "/files may be written by others");
    patient_expect_wrong(&p, "runtime-directory", "chmod o-w");
    daemon_stop(d);
}

static void
a_data_directory_that_was_moved_away_is_wrong(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const struct patient p = {.runtime_dir = d->runtime_dir};
    char aside[HARNESS_PATH_LEN];

    (void)state;
    harness_join(aside, d->dir, "aside");
    assert_int_equal(rename(d->data_dir, aside), 0);
    patient_expect_wrong(&p, "data-directory", "is gone while msockd runs");
    assert_int_equal(rename(aside, d->data_dir), 0);
    patient_expect_fine(&p, "data-directory");
    daemon_stop(d);
}

static void
a_key_that_everybody_may_read_is_wrong(void **state)
{
    char dir[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN], config[HARNESS_PATH_LEN];
    char text[3 * HARNESS_PATH_LEN];
    const struct patient p = {.config = config};

    (void)state;
    harness_directory(dir);
    harness_join(key, dir, "key");
    harness_join(config, dir, "msockd.conf");
    snprintf(text, sizeof(text),
             "listen = {\"msp://127.0.0.1:9123?handler=nats&servers=nats://"
             "127.0.0.1&stream=S&nats_creds=%s\"}\n",
             key);
    harness_write_file(key, "secret\n", 7);
    harness_write_file(config, text, strlen(text));
    assert_int_equal(chmod(key, 0600), 0);
    patient_expect_fine(&p, "secrets");
    assert_int_equal(chmod(key, 0644), 0);
    patient_expect_wrong(&p, "secrets", "chmod 640");
}

/* A certificate that names nobody and ends in so many days. */
static void
certificate_write(const char *path, int days)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    FILE *file = fopen(path, "we");

    assert_true(key != NULL && certificate != NULL && file != NULL);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400L * 100);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400L * days + 3600);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void
a_certificate_that_ends_soon_is_wrong(void **state)
{
    char dir[HARNESS_PATH_LEN], file[HARNESS_PATH_LEN], config[HARNESS_PATH_LEN];
    char text[3 * HARNESS_PATH_LEN];
    const struct patient p = {.config = config};

    (void)state;
    harness_directory(dir);
    harness_join(file, dir, "ca.pem");
    harness_join(config, dir, "msockd.conf");
    snprintf(text, sizeof(text),
             "listen = {\"msp://127.0.0.1:9123?handler=nats&servers=nats://127.0.0.1&stream=S&"
             "nats_tls=yes&nats_ca=%s\"}\n",
             file);
    harness_write_file(config, text, strlen(text));
    certificate_write(file, 90);
    patient_expect_fine(&p, "certificates");
    certificate_write(file, 5);
    patient_expect_wrong(&p, "certificates", "ends in 5 days");
    certificate_write(file, -5);
    patient_expect_wrong(&p, "certificates", "ended");
}

/* --- clock and disk --- */

static void
a_clock_that_was_set_back_is_wrong(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct patient p = {.runtime_dir = d->runtime_dir};
    struct answer a;
    struct peer peer;
    char preload[HARNESS_PATH_LEN + 16], clock[HARNESS_PATH_LEN + 16];

    (void)state;
    faults_need();
    snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", harness_program("tests/clock.so"));
    snprintf(clock, sizeof(clock), "MSOCK_CLOCK=%s", d->clock_path);
    p.how.env[0] = preload;
    p.how.env[1] = clock;
    peer_connect(&peer, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&peer, NULL, "x", 1, &a), ANSWER_ACK);
    daemon_shift_clock(d, 0);
    patient_expect_fine(&p, "clock");
    patient_expect_fine(&p, "clock-back");
    daemon_shift_clock(d, -86400);
    patient_expect_wrong(&p, "clock", "set-ntp");
    patient_expect_wrong(&p, "clock-back", "set back");
    daemon_stop(d);
}

static void
a_slow_flush_is_wrong(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct patient p = {.runtime_dir = d->runtime_dir};
    char preload[HARNESS_PATH_LEN + 16], faults[HARNESS_PATH_LEN + 16];

    (void)state;
    faults_need();
    snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", harness_program("tests/faults.so"));
    snprintf(faults, sizeof(faults), "MSOCK_FAULTS=%s", d->faults_path);
    p.how.env[0] = preload;
    p.how.env[1] = faults;
    faults_set(d, "sync delay-25 - 1\n");
    patient_expect_wrong(&p, "flush-time", "iostat");
    daemon_stop(d);
}

static void
damage_in_the_journal_is_wrong(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const struct patient p = {.runtime_dir = d->runtime_dir};
    char path[HARNESS_PATH_LEN];

    (void)state;
    patient_expect_fine(&p, "damaged-journal");
    harness_join(path, d->data_dir, "journal/damaged");
    if (mkdir(path, 0750) < 0)
        assert_int_equal(errno, EEXIST);
    harness_join(path, d->data_dir, "journal/damaged/x");
    harness_write_file(path, "x", 1);
    patient_expect_wrong(&p, "damaged-journal", "verify");
    unlink(path);
    daemon_stop(d);
}

static void
a_full_disk_in_memory_that_takes_no_writes_is_wrong(void **state)
{
    char dir[HARNESS_PATH_LEN], disk[HARNESS_PATH_LEN], config[HARNESS_PATH_LEN];
    char path[HARNESS_PATH_LEN], text[3 * HARNESS_PATH_LEN];
    static const char filler[1000 * 1024];
    const struct patient p = {.config = config};

    (void)state;
    harness_small_disk(1024, disk);
    harness_directory(dir);
    harness_join(config, dir, "msockd.conf");
    snprintf(text, sizeof(text), "data_dir = \"%s\"\n", disk);
    harness_write_file(config, text, strlen(text));
    patient_expect_fine(&p, "space");
    patient_expect_fine(&p, "inodes");
    patient_expect_fine(&p, "read-only");
    patient_expect_fine(&p, "flush-time"); /* there is no disk to wait for */
    patient_expect_wrong(&p, "file-system", "tmpfs");
    harness_join(path, disk, "filler");
    harness_write_file(path, filler, sizeof(filler));
    patient_expect_wrong(&p, "space", "no-space");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mount("none", disk, NULL, MS_REMOUNT, "nr_inodes=30"), 0);
    for (unsigned i = 0; i < 29; i++) {
        const char name[] = {(char)('A' + (char)i), '\0'};

        harness_join(path, disk, name);
        harness_write_file(path, "", 0);
    }
    patient_expect_wrong(&p, "inodes", "0 more files");
    assert_int_equal(mount("none", disk, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    patient_expect_wrong(&p, "read-only", "remount,rw");
}

static void
a_data_directory_on_a_disk_is_fine(void **state)
{
    char dir[HARNESS_PATH_LEN], config[HARNESS_PATH_LEN];
    const struct patient p = {.config = config};

    (void)state;
    harness_directory(dir);
    harness_join(config, dir, "msockd.conf");
    harness_write_file(config, "data_dir = \"/sys\"\n", 18); /* neither memory nor a machine's */
    patient_expect_fine(&p, "file-system");
}

/* --- the command --- */

static void
become_nobody(void)
{
    if (setgid(65534) < 0 || setuid(65534) < 0)
        _exit(127);
}

/* Somebody who may read the statistics, but not look at the process. */
static void
what_may_not_be_read_is_unknown(void **state)
{
    static const char *const checks[] = {"configuration", "sync", "descriptors", "port"};
    struct patient p = {.how = {.child = become_nobody}};
    char line[HARNESS_PATH_LEN + 32];
    struct daemon *d;

    (void)state;
    harness_need_root();
    d = daemon_start(&(struct daemon_options){.workers = 1});
    p.runtime_dir = d->runtime_dir;
    snprintf(line, sizeof(line), "chmod -R a+rX '%s'", d->dir);
    assert_int_equal(system(line), 0);
    patient_expect_fine(&p, "running");
    for (size_t i = 0; i < MS_ARRAY_LEN(checks); i++) {
        struct run_result result = patient_look(&p, checks[i]);

        if (result.status != 0 || strncmp(result.out, "unknown", 7) != 0)
            fail_msg("%s is not unknown: %s%s", checks[i], result.out, result.err);
        run_result_free(&result);
    }
    daemon_stop(d);
}

/* A check that no test has broken is none. */
static void
every_check_is_made_to_fail(void **state)
{
    char *real = harness_read_file(harness_source("tests/system/test_doctor.c"), NULL);
    char *kernel = harness_read_file(harness_source("tests/system/test_doctor_kernel.c"), NULL);
    struct run_result result = run_program(harness_program("msockctl"), "doctor", "--json", NULL);
    json_t *rows = json_loads(result.out, 0, NULL), *row;
    char broken[128], looked[128], listed[128];
    size_t i;

    (void)state;
    assert_true(real != NULL && kernel != NULL && json_array_size(rows) >= 25);
    json_array_foreach(rows, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "check"));

        snprintf(broken, sizeof(broken), "patient_expect_wrong(&p, \"%s\"", name);
        snprintf(looked, sizeof(looked), "patient_look(&p, \"%s\")", name);
        snprintf(listed, sizeof(listed), "{\"%s\", ", name);
        if (strstr(real, broken) == NULL && strstr(real, looked) == NULL &&
            strstr(kernel, broken) == NULL && strstr(kernel, listed) == NULL)
            fail_msg("no test makes %s fail", name);
    }
    json_decref(rows);
    run_result_free(&result);
    free(real);
    free(kernel);
}

static void
all_checks_are_in_the_json_and_have_a_name_of_their_own(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct run_result result = daemon_control(d, "doctor", "--json", NULL);
    json_t *rows = json_loads(result.out, 0, NULL), *names = json_object(), *row;
    bool wrong = false;
    size_t i;

    (void)state;
    assert_true(json_array_size(rows) >= 25);
    json_array_foreach(rows, i, row)
    {
        const char *verdict = json_string_value(json_object_get(row, "verdict"));

        json_object_set(names, json_string_value(json_object_get(row, "check")), row);
        wrong = wrong || strcmp(verdict, "WRONG") == 0;
        assert_true((strcmp(verdict, "WRONG") == 0) ==
                    (json_string_value(json_object_get(row, "mend"))[0] != '\0'));
    }
    assert_int_equal(json_object_size(names), json_array_size(rows));
    assert_int_equal(result.status, wrong);
    json_decref(names);
    json_decref(rows);
    run_result_free(&result);
    result = daemon_control(d, "doctor", "no-such-check", NULL);
    assert_int_equal(result.status, 64);
    run_result_free(&result);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(few_descriptors_are_wrong),
        SYSTEM_TEST(a_refused_system_call_is_wrong),
        SYSTEM_TEST(a_msockd_that_is_gone_is_wrong),
        SYSTEM_TEST(workers_that_die_are_wrong),
        SYSTEM_TEST(a_reload_that_failed_is_wrong),
        SYSTEM_TEST(a_relay_that_cannot_relay_is_wrong),
        SYSTEM_TEST(a_replaced_program_is_wrong),
        SYSTEM_TEST(in_the_background_relative_paths_are_found),
        SYSTEM_TEST(a_process_of_an_earlier_msockd_is_wrong),
        SYSTEM_TEST(a_log_that_was_moved_away_is_wrong),
        SYSTEM_TEST(counters_that_should_be_zero_are_judged),
        SYSTEM_TEST(no_sync_is_wrong),
        SYSTEM_TEST(directories_that_others_may_write_are_wrong),
        SYSTEM_TEST(a_data_directory_that_was_moved_away_is_wrong),
        SYSTEM_TEST(a_key_that_everybody_may_read_is_wrong),
        SYSTEM_TEST(a_certificate_that_ends_soon_is_wrong),
        SYSTEM_TEST(a_clock_that_was_set_back_is_wrong),
        SYSTEM_TEST(a_slow_flush_is_wrong),
        SYSTEM_TEST(damage_in_the_journal_is_wrong),
        SYSTEM_TEST(a_full_disk_in_memory_that_takes_no_writes_is_wrong),
        SYSTEM_TEST(a_data_directory_on_a_disk_is_fine),
        SYSTEM_TEST(what_may_not_be_read_is_unknown),
        SYSTEM_TEST(every_check_is_made_to_fail),
        SYSTEM_TEST(all_checks_are_in_the_json_and_have_a_name_of_their_own),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

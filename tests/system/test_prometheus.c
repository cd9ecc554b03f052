/* The alerts and the dashboard in docs/, with a real Prometheus: promtool fires each alert, a
 * server scrapes a msockd, finds every metric that alerts and dashboard ask for, and some of the
 * alerts are fired by what happens to the msockd. */
#include "http.h"
#include "serving.h"
#include "stats.h"
#include "support/certificates.h"
#include "support/signals.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const anywhere[] = {"--listen", "127.0.0.1:0", NULL};

struct watch {
    struct serving serving;
    struct running prometheus;
    unsigned port;
    char log[HARNESS_PATH_LEN];
};

static void
need(const char *program)
{
    if (access(program, X_OK) == 0)
        return;
    print_message("there is no %s: install prometheus\n", program);
    skip();
}

static void
promtool_fires_each_alert(void **state)
{
    struct run_result result;
    char tests[HARNESS_PATH_LEN];

    (void)state;
    need("/usr/bin/promtool");
    snprintf(tests, sizeof(tests), "%s", harness_source("tests/prometheus/alerts_test.yml"));
    result =
        run_program("/usr/bin/promtool", "check", "rules", harness_source("docs/alerts.yml"), NULL);
    if (result.status != 0)
        fail_msg("%s%s", result.out, result.err);
    run_result_free(&result);
    result = run_program("/usr/bin/promtool", "test", "rules", tests, NULL);
    if (result.status != 0)
        fail_msg("%s%s", result.out, result.err);
    run_result_free(&result);
}

/* In a healthy world each is looked for, and somewhere it is expected. */
static void
every_alert_has_its_test(void **state)
{
    char *alerts = harness_read_file(harness_source("docs/alerts.yml"), NULL);
    char *tests = harness_read_file(harness_source("tests/prometheus/alerts_test.yml"), NULL);
    char name[64], healthy[128], fired[128];
    unsigned count = 0;

    (void)state;
    assert_true(alerts != NULL && tests != NULL);
    for (const char *at = alerts; (at = strstr(at, "- alert: ")) != NULL; at++, count++) {
        assert_int_equal(sscanf(at, "- alert: %63s", name), 1);
        snprintf(healthy, sizeof(healthy), "{alertname: %s, eval_time: 100m}", name);
        snprintf(fired, sizeof(fired), "- alertname: %s\n", name);
        if (strstr(tests, healthy) == NULL || strstr(tests, fired) == NULL)
            fail_msg("tests/prometheus/alerts_test.yml does not fire %s", name);
    }
    assert_true(count > 10);
    free(alerts);
    free(tests);
}

/* --- a server that scrapes --- */

/* The alerts as they are, but for the time that they wait. */
static void
alerts_at_once(const char *path)
{
    char *alerts = harness_read_file(harness_source("docs/alerts.yml"), NULL), *at = alerts;

    assert_non_null(alerts);
    while ((at = strstr(at, "\n        for: ")) != NULL) {
        memcpy(at, "\n        #      ", 14);
        at++;
    }
    harness_write_file(path, alerts, strlen(alerts));
    free(alerts);
}

static bool
watch_listens(struct watch *w)
{
    static const char said[] = "msg=\"Listening on\" address=127.0.0.1:";
    char *text = harness_read_file(w->log, NULL);
    const char *at = text != NULL ? strstr(text, said) : NULL;
    bool listens = at != NULL && sscanf(at + strlen(said), "%u", &w->port) == 1 &&
                   strstr(text, "Server is ready") != NULL;

    free(text);
    return listens;
}

static void
watch_start(struct watch *w, const struct daemon *d)
{
    char config[HARNESS_PATH_LEN], rules[HARNESS_PATH_LEN], text[4 * HARNESS_PATH_LEN];
    char config_option[HARNESS_PATH_LEN + 32], data_option[HARNESS_PATH_LEN + 32];
    const char *argv[] = {"/usr/bin/prometheus", config_option, data_option,
                          "--web.listen-address=127.0.0.1:0", NULL};

    need(argv[0]);
    serving_need();
    serving_start(&w->serving, d->runtime_dir, anywhere);
    harness_join(config, d->dir, "prometheus.yml");
    harness_join(rules, d->dir, "alerts.yml");
    harness_join(w->log, d->dir, "prometheus.log");
    alerts_at_once(rules);
    snprintf(text, sizeof(text),
             "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
             "rule_files: ['%s']\n"
             "scrape_configs:\n"
             "  - job_name: msockd\n"
             "    static_configs: [{targets: ['127.0.0.1:%u']}]\n",
             rules, w->serving.port);
    harness_write_file(config, text, strlen(text));
    snprintf(config_option, sizeof(config_option), "--config.file=%s", config);
    snprintf(data_option, sizeof(data_option), "--storage.tsdb.path=%s/tsdb", d->dir);
    run_start(&w->prometheus, argv, &(struct run_options){.error_file = w->log, .cwd = d->dir});
    WAIT_FOR(watch_listens(w), 30000);
}

static void
watch_stop(struct watch *w)
{
    struct run_result result;

    signal_send(w->prometheus.pid, SIGTERM);
    run_finish(&w->prometheus, 30000, &result);
    run_result_free(&result);
    serving_stop(&w->serving);
}

/* The result of a query: an array. Ends the test where the query is wrong. */
static json_t *
watch_query(const struct watch *w, const char *query)
{
    char path[8192] = "/api/v1/query?query=";
    size_t n = strlen(path);
    struct http_reply r;
    json_t *answer, *result;

    for (const char *c = query; *c != '\0' && n + 4 < sizeof(path); c++)
        n += (size_t)snprintf(path + n, sizeof(path) - n,
                              isalnum((unsigned char)*c) ? "%c" : "%%%02X", (unsigned char)*c);
    r = http_request(w->port, "GET", path, "");
    answer = json_loads(r.body, 0, NULL);
    result = json_incref(json_object_get(json_object_get(answer, "data"), "result"));
    if (r.status != 200 || result == NULL)
        fail_msg("%s: %s", query, r.body);
    json_decref(answer);
    free(r.head);
    return result;
}

static bool
watch_has(const struct watch *w, const char *query)
{
    json_t *result = watch_query(w, query);
    bool has = json_array_size(result) > 0;

    json_decref(result);
    return has;
}

/* A scrape that takes longer than a second takes all figures away until the next one. */
static bool
watch_has_soon(const struct watch *w, const char *query)
{
    struct waiting waiting = waiting_begin(20000);
    bool has;

    while (!(has = watch_has(w, query)) && waiting_more(&waiting))
        ;
    return has;
}

static bool
watch_fires(const struct watch *w, const char *alert)
{
    char query[256];

    snprintf(query, sizeof(query), "ALERTS{alertname=\"%s\", alertstate=\"firing\"}", alert);
    return watch_has(w, query);
}

/* Every metric that a text names is there. */
static void
expect_metrics(const struct watch *w, const char *text)
{
    char name[128];
    int n;

    for (const char *at = text; (at = strstr(at, "msockd_")) != NULL; at += n) {
        assert_int_equal(sscanf(at, "%127[a-z0-9_]%n", name, &n), 1);
        if ((harness_is_built("msockd_nats.so") || strncmp(name, "msockd_relay_", 13) != 0) &&
            !watch_has_soon(w, name))
            fail_msg("there is no metric %s", name);
    }
}

/* As Grafana fills it in. */
static void
expect_panel(const struct watch *w, const json_t *target)
{
    char query[4096], *at;
    const char *expr = json_string_value(json_object_get(target, "expr"));

    assert_non_null(expr);
    snprintf(query, sizeof(query), "%s", expr);
    while ((at = strstr(query, "$__rate_interval")) != NULL) {
        memcpy(at, "1m", 2);
        memmove(at + 2, at + 16, strlen(at + 16) + 1);
    }
    while ((at = strstr(query, "$instance")) != NULL) {
        memcpy(at, ".*", 2);
        memmove(at + 2, at + 9, strlen(at + 9) + 1);
    }
    if ((harness_is_built("msockd_nats.so") || strstr(query, "msockd_relay_") == NULL) &&
        !watch_has_soon(w, query))
        fail_msg("a panel shows nothing: %s", query);
}

static void
a_server_finds_all_that_dashboard_and_alerts_ask_for(void **state)
{
    char pki[HARNESS_PATH_LEN], url[4 * HARNESS_PATH_LEN];
    struct daemon_options options = {.workers = 2, .listen = {"msp://127.0.0.1:0", url}};
    struct daemon *d;
    char *alerts = harness_read_file(harness_source("docs/alerts.yml"), NULL);
    json_t *board = json_load_file(harness_source("docs/grafana.json"), 0, NULL), *panel, *target;
    unsigned panels = 0;
    struct watch w;
    struct answer a;
    struct peer p;
    size_t i, k;

    (void)state;
    if (harness_is_built("msockd_nats.so"))
        options.set[0] = "relay=nats://127.0.0.1:1?stream=S&subject=s";
    harness_directory(pki);
    certificate_make(pki, "server", NULL, &(struct certificate){.common_name = "server"});
    snprintf(url, sizeof(url),
             "msp://127.0.0.1:0?tls=required&tls_cert=%s/server.pem&tls_key=%s/server.key", pki,
             pki);
    d = daemon_start(&options);
    watch_start(&w, d);
    peer_connect(&p, &d->listeners[0]);
    WAIT_FOR(watch_has(&w, "msockd_messages_total"), 20000);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    WAIT_FOR(watch_has(&w, "msockd_messages_total == 1"), 20000);
    WAIT_FOR(watch_has(&w, "rate(msockd_messages_total[1m]) > 0"), 20000);
    expect_metrics(&w, strstr(alerts, "groups:"));
    json_array_foreach(json_object_get(board, "panels"), i, panel)
    {
        json_array_foreach(json_object_get(panel, "targets"), k, target)
        {
            expect_panel(&w, target);
            panels++;
        }
    }
    assert_true(panels > 20);
    WAIT_FOR(!watch_has(&w, "ALERTS{alertname!=\"MsockdDiskAlmostFull\"}"), 20000);
    json_decref(board);
    free(alerts);
    watch_stop(&w);
    daemon_stop(d);
}

static void
what_happens_to_a_msockd_fires_its_alert(void **state)
{
    static const char config[] =
        "workers = 1\nlisten = {\"msp://127.0.0.1:0\"}\nmax_connections = 1\n"
        "dedup_max = 1\n";
    struct daemon *d =
        daemon_start(&(struct daemon_options){.config = config, .errors_expected = true});
    struct proc_list workers;
    struct run_result result;
    struct peer p, more;
    struct watch w;
    struct answer a;
    char id[16];

    (void)state;
    watch_start(&w, d);
    peer_connect(&p, &d->listeners[0]);
    WAIT_FOR(watch_has(&w, "msockd_connections_open == 1"),
             20000); /* all counters are there, at 0 */
    p.spoil_crc = 1;
    p.spoil_digest = 1;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "id-%u", i);
        assert_int_equal(peer_send_plain(&p, id, "x", 1, &a), ANSWER_ACK);
    }
    peer_connect(&more, &d->listeners[0]);
    WAIT_FOR(stats_total(d, "refused") > 0, 10000);
    daemon_configure(d, "workers = none\n");
    result = daemon_control(d, "reload", NULL);
    assert_int_equal(result.status, 78);
    run_result_free(&result);
    for (unsigned i = 0; i < 3; i++) {
        WAIT_FOR(daemon_has_workers(d, 1), 20000);
        daemon_workers(d, &workers);
        signal_send(workers.pid[0], SIGKILL);
        WAIT_FOR(!proc_alive(workers.pid[0]), 10000);
    }
    WAIT_FOR(watch_fires(&w, "MsockdDamagedPackets"), 30000);
    WAIT_FOR(watch_fires(&w, "MsockdDamagedMessages"), 30000);
    WAIT_FOR(watch_fires(&w, "MsockdIdsForgotten"), 30000);
    WAIT_FOR(watch_fires(&w, "MsockdTurnedAway"), 30000);
    WAIT_FOR(watch_fires(&w, "MsockdReloadFailed"), 30000);
    WAIT_FOR(watch_fires(&w, "MsockdWorkerDies"), 30000);
    WAIT_FOR(!watch_fires(&w, "MsockdDown"), 20000);
    daemon_stop(d);
    WAIT_FOR(watch_fires(&w, "MsockdDown"), 30000);
    watch_stop(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(promtool_fires_each_alert),
        SYSTEM_TEST(every_alert_has_its_test),
        SYSTEM_TEST(a_server_finds_all_that_dashboard_and_alerts_ask_for),
        SYSTEM_TEST(what_happens_to_a_msockd_fires_its_alert),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

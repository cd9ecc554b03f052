/* The page of msockctl serve in a real browser: plots move while messages come, tables sort and
 * filter, by mouse and keyboard, hostile names stay text, the page finds a msockd that comes back,
 * and nothing is ever an error. $PAGE_SHOTS names a directory for pictures. */
#include "browser.h"
#include "serving.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HOSTILE "<img src=x onerror=document.title='taken'>"

static const char *const anywhere[] = {"--listen", "127.0.0.1:0", NULL};

struct site {
    struct daemon *daemon;
    struct serving serving;
    struct browser browser;
};

static void
site_begin_with(struct site *site, const struct daemon_options *options)
{
    browser_need();
    serving_need();
    site->daemon = daemon_start(options);
    serving_start(&site->serving, site->daemon->runtime_dir, anywhere);
    browser_start(&site->browser);
    browser_look(&site->browser, 1400, 900, false);
    browser_open(&site->browser, site->serving.url);
    WAIT_FOR(
        browser_true(&site->browser, "document.getElementById('state').textContent === 'running'"),
        20000);
}

static void
site_begin(struct site *site)
{
    site_begin_with(site, &(struct daemon_options){.workers = 2});
}

static void
site_end(struct site *site)
{
    assert_int_equal(site->browser.errors, 0);
    browser_stop(&site->browser);
    serving_stop(&site->serving);
    daemon_stop(site->daemon);
}

/* Sends n messages with ids that begin so. */
static void
site_send(struct peer *p, const char *id, unsigned n)
{
    char name[128];
    struct answer a;

    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s%u", id, i);
        assert_int_equal(peer_send_plain(p, name, "0123456789", 10, &a), ANSWER_ACK);
    }
}

static void
plots_move_while_messages_come(void **state)
{
    struct site site;
    struct peer p;

    (void)state;
    site_begin(&site);
    peer_connect(&p, &site.daemon->listeners[0]);
    /* a point above 0 in the plot of messages, of bytes and of latency */
    for (struct waiting w = waiting_begin(20000); !browser_true(
             &site.browser,
             "[0, 1, 2].every((i) => plots[i].chart.data.datasets[0].data.some((d) => d.y > 0))"
             " && plots[0].chart.data.datasets[0].data.length > 2");) {
        assert_true(waiting_more(&w));
        site_send(&p, "m", 20);
    }
    WAIT_FOR(browser_true(&site.browser, "before.stats.total.messages >= 20"), 10000);
    WAIT_FOR(browser_true(&site.browser, "plots[7].chart.data.datasets[1].data.at(-1).y > 0"),
             10000);
    assert_true(browser_true(&site.browser,
                             "plots[1].chart.scales.left.ticks.every((t) => t.value % 2 === 0 && "
                             "!/[.]0/.test(t.label))"));
    browser_shot(&site.browser, "wide-light");
    browser_look(&site.browser, 1400, 900, true);
    WAIT_FOR(browser_true(&site.browser, "document.documentElement.dataset.theme === 'dark'"),
             10000);
    browser_shot(&site.browser, "wide-dark");
    browser_look(&site.browser, 390, 844, true);
    browser_shot(&site.browser, "narrow-dark");
    browser_look(&site.browser, 390, 844, false);
    browser_shot(&site.browser, "narrow-light");
    assert_true(browser_true(
        &site.browser, "[...document.querySelectorAll('main, header, footer, figure, .scroll')]"
                       ".every((e) => e.getBoundingClientRect().right <= 390)"));
    site_end(&site);
}

#define CELLS(key)                                                                                \
    "[...document.querySelectorAll('#tables tbody tr')].map((tr) => tr.cells[tables.get('conns')" \
    ".columns.findIndex((c) => c.key === '" key "')].textContent)"

static void
tables_are_sorted_and_filtered(void **state)
{
    struct peer p[3];
    struct site site;
    char text[256];

    (void)state;
    site_begin(&site);
    for (unsigned i = 0; i < 3; i++) {
        peer_connect(&p[i], &site.daemon->listeners[0]);
        site_send(&p[i], "m", 3 - i + 5 * (i == 1)); /* 3, 7, 1 */
    }
    WAIT_FOR(browser_true(&site.browser, CELLS("messages") ".length === 3"), 20000);
    json_decref(browser_value(&site.browser,
                              "document.querySelector('#tables [data-key=messages]').click()"));
    WAIT_FOR(browser_true(&site.browser, CELLS("messages") ".join() === '7,3,1'"), 20000);
    json_decref(browser_value(&site.browser,
                              "document.querySelector('#tables [data-key=messages]').focus()"));
    browser_key(&site.browser, "Enter");
    WAIT_FOR(browser_true(&site.browser, CELLS("messages") ".join() === '1,3,7'"), 20000);
    assert_true(
        browser_true(&site.browser, "document.querySelector('[aria-sort=ascending]') !== null"));
    browser_key(&site.browser, "/");
    browser_type(&site.browser, strrchr(p[1].name, ':'));
    snprintf(text, sizeof(text), CELLS("peer") ".join() === '%s'", p[1].name);
    WAIT_FOR(browser_true(&site.browser, text), 20000);
    browser_key(&site.browser, "Escape");
    WAIT_FOR(browser_true(&site.browser, CELLS("peer") ".length === 3"), 20000);
    json_decref(browser_value(&site.browser,
                              "document.querySelector('[role=tab][aria-selected=true]').focus()"));
    browser_key(&site.browser, "ArrowRight");
    WAIT_FOR(browser_true(&site.browser, "shown !== 'conns' && drawn.name === shown"), 20000);
    json_decref(
        browser_value(&site.browser, "document.querySelector('[data-name=workers]').click()"));
    WAIT_FOR(
        browser_true(&site.browser, "document.querySelectorAll('#tables tbody tr').length === 2"),
        20000);
    site_end(&site);
}

static void
hostile_names_stay_text(void **state)
{
    struct site site;
    struct peer p;

    (void)state;
    site_begin(&site);
    peer_connect(&p, &site.daemon->listeners[0]);
    site_send(&p, HOSTILE, 2);
    WAIT_FOR(browser_true(&site.browser,
                          "document.getElementById('journal').textContent.includes('<img src=x')"),
             20000);
    assert_true(browser_true(&site.browser, "document.querySelectorAll('img').length === 1"));
    assert_true(browser_true(&site.browser, "document.title === 'msockd'"));
    site_end(&site);
}

/* A worker names the functions in which it died, and whatever took it over may name any. */
static void
crashes_are_shown_and_stay_text(void **state)
{
    static const char name[] = "%3Cimg%20src=x%20onerror=taken()%3E";
    char dir[HARNESS_PATH_LEN], module[HARNESS_PATH_LEN], url[HARNESS_PATH_LEN + 128];
    struct site site;
    struct answer a;
    struct peer p;

    (void)state;
    harness_directory(dir);
    harness_join(module, dir, "<img src=x onerror=taken()>");
    assert_int_equal(symlink(harness_program("tests/modules/fault.so"), module), 0);
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?handler=module&path=%s/%s", dir, name);
    site_begin_with(
        &site, &(struct daemon_options){.workers = 1, .listen = {url}, .errors_expected = true});
    json_decref(
        browser_value(&site.browser, "document.querySelector('[data-name=crashes]').click()"));
    peer_connect(&p, &site.daemon->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "write", 5, &a), ANSWER_CLOSED);
    WAIT_FOR(browser_true(&site.browser,
                          "document.getElementById('tables').textContent.includes('<img src=x')"),
             20000);
    assert_true(browser_true(&site.browser, "document.querySelectorAll('img').length === 1"));
    json_decref(
        browser_value(&site.browser, "document.querySelector('[data-name=events]').click()"));
    WAIT_FOR(browser_true(&site.browser, "document.querySelector('#tables tbody tr') !== null"),
             20000);
    assert_true(browser_true(&site.browser, "tables.get('events').rows.every((row, i, all) => "
                                            "i === 0 || row.time <= all[i - 1].time)"));
    site_end(&site);
}

static void
the_page_finds_a_msockd_that_comes_back(void **state)
{
    struct site site;
    struct peer p;

    (void)state;
    site_begin(&site);
    daemon_stop(site.daemon);
    WAIT_FOR(
        browser_true(&site.browser, "document.getElementById('state').className === 'state bad'"),
        20000);
    browser_shot(&site.browser, "away");
    daemon_launch(site.daemon);
    WAIT_FOR(
        browser_true(&site.browser, "document.getElementById('state').textContent === 'running'"),
        20000);
    peer_connect(&p, &site.daemon->listeners[0]);
    site_send(&p, "again", 3);
    WAIT_FOR(browser_true(&site.browser, "before.stats.total.messages === 3"), 20000);
    site_end(&site);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(plots_move_while_messages_come),
        SYSTEM_TEST(tables_are_sorted_and_filtered),
        SYSTEM_TEST(hostile_names_stay_text),
        SYSTEM_TEST(crashes_are_shown_and_stay_text),
        SYSTEM_TEST(the_page_finds_a_msockd_that_comes_back),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

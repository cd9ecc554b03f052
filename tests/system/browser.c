/* The DevTools protocol: JSON messages with a NUL behind each, over descriptors 3 and 4 of
 * Chromium. */
#include "browser.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MS 30000

static const char *const programs[] = {"/usr/bin/chromium-headless-shell", "/usr/bin/chromium"};
static int child_reads, child_writes; /* for browser_child */

static const char *
browser_program(void)
{
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
        if (access(programs[i], X_OK) == 0)
            return programs[i];
    return NULL;
}

void
browser_need(void)
{
#if defined(MS_SANITIZE) || defined(MS_VALGRIND)
    print_message("the page needs no second look under the sanitizers\n");
    skip();
#endif
    if (browser_program() == NULL) {
        print_message("there is no Chromium: install chromium-headless-shell\n");
        skip();
    }
}

static void
browser_child(void)
{
    dup2(child_reads, 100); /* whatever the numbers are, neither covers the other */
    dup2(child_writes, 101);
    dup2(100, 3);
    dup2(101, 4);
    close(100);
    close(101);
}

/* --- messages --- */

static void
message_send(struct browser *b, json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT);
    size_t n = strlen(text) + 1, at = 0;

    while (at < n) {
        ssize_t wrote = write(b->to, text + at, n - at);

        assert_true(wrote > 0);
        at += (size_t)wrote;
    }
    free(text);
    json_decref(message);
}

/* The next message, or NULL where none comes in that time. */
static json_t *
message_next(struct browser *b, int ms)
{
    struct pollfd p = {.fd = b->from, .events = POLLIN};
    json_t *message;
    char *end;

    while ((end = b->have_len > 0 ? memchr(b->have, '\0', b->have_len) : NULL) == NULL) {
        ssize_t n;

        if (poll(&p, 1, ms) <= 0)
            return NULL;
        b->have = realloc(b->have, b->have_len + 65536);
        assert_non_null(b->have);
        n = read(b->from, b->have + b->have_len, 65536);
        if (n <= 0)
            fail_msg("the browser has ended");
        b->have_len += (size_t)n;
    }
    message = json_loads(b->have, 0, NULL);
    assert_non_null(message);
    b->have_len -= (size_t)(end + 1 - b->have);
    memmove(b->have, end + 1, b->have_len);
    return message;
}

/* What the browser tells unasked; errors are counted. */
static void
event_take(struct browser *b, const json_t *message)
{
    const char *method = json_string_value(json_object_get(message, "method"));
    const json_t *params = json_object_get(message, "params");
    const char *type = json_string_value(json_object_get(params, "type"));
    const json_t *entry = json_object_get(params, "entry");
    const char *level = json_string_value(json_object_get(entry, "level"));
    char *text;

    if (method == NULL)
        return;
    if (strcmp(method, "Runtime.exceptionThrown") != 0 &&
        (strcmp(method, "Runtime.consoleAPICalled") != 0 || strcmp(type, "error") != 0) &&
        (strcmp(method, "Log.entryAdded") != 0 || strcmp(level, "error") != 0))
        return;
    b->errors++;
    text = json_dumps(params, JSON_COMPACT);
    print_message("the browser says: %s\n", text);
    free(text);
}

/* Calls a method and returns its result; takes the reference to params. */
static json_t *
browser_call(struct browser *b, const char *method, json_t *params)
{
    json_t *message = json_pack("{s:i, s:s, s:o}", "id", ++b->calls, "method", method, "params",
                                params != NULL ? params : json_object());
    json_t *answer;

    if (b->session[0] != '\0')
        json_object_set_new(message, "sessionId", json_string(b->session));
    message_send(b, message);
    while ((answer = message_next(b, ANSWER_MS * WAIT_SCALE)) != NULL) {
        if (json_integer_value(json_object_get(answer, "id")) == b->calls) {
            json_t *result = json_incref(json_object_get(answer, "result"));

            if (result == NULL)
                fail_msg("%s: %s", method, json_dumps(answer, JSON_COMPACT));
            json_decref(answer);
            return result;
        }
        event_take(b, answer);
        json_decref(answer);
    }
    fail_msg("the browser does not answer %s", method);
    return NULL;
}

static void
browser_do(struct browser *b, const char *method, json_t *params)
{
    json_decref(browser_call(b, method, params));
}

/* --- start and end --- */

/* A tab of our own; from now on calls go there. */
static void
browser_attach(struct browser *b)
{
    json_t *made = browser_call(b, "Target.createTarget", json_pack("{s:s}", "url", "about:blank"));
    json_t *session = browser_call(
        b, "Target.attachToTarget",
        json_pack("{s:O, s:b}", "targetId", json_object_get(made, "targetId"), "flatten", 1));

    snprintf(b->session, sizeof(b->session), "%s",
             json_string_value(json_object_get(session, "sessionId")));
    json_decref(made);
    json_decref(session);
    browser_do(b, "Page.enable", NULL);
    browser_do(b, "Runtime.enable", NULL);
    browser_do(b, "Log.enable", NULL);
}

void
browser_start(struct browser *b)
{
    char profile[HARNESS_PATH_LEN + 20];
    const char *argv[] = {browser_program(),
                          "--headless",
                          "--no-sandbox",
                          "--disable-gpu",
                          "--disable-dev-shm-usage",
                          "--no-first-run",
                          "--remote-debugging-pipe",
                          "--hide-scrollbars",
                          profile,
                          NULL};
    int to[2], from[2];

    memset(b, 0, sizeof(*b));
    harness_directory(b->profile);
    snprintf(profile, sizeof(profile), "--user-data-dir=%s", b->profile);
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    child_reads = to[0];
    child_writes = from[1];
    run_start(&b->run, argv, &(struct run_options){.child = browser_child});
    close(to[0]);
    close(from[1]);
    b->to = to[1];
    b->from = from[0];
    browser_attach(b);
}

void
browser_stop(struct browser *b)
{
    struct run_result result;

    b->session[0] = '\0';
    browser_do(b, "Browser.close", NULL);
    run_finish(&b->run, 20000 * WAIT_SCALE, &result);
    run_result_free(&result);
    close(b->to);
    close(b->from);
    free(b->have);
}

/* --- pages --- */

json_t *
browser_value(struct browser *b, const char *expression)
{
    json_t *result = browser_call(b, "Runtime.evaluate",
                                  json_pack("{s:s, s:b, s:b}", "expression", expression,
                                            "returnByValue", 1, "awaitPromise", 1));
    json_t *value = json_incref(json_object_get(json_object_get(result, "result"), "value"));

    if (json_object_get(result, "exceptionDetails") != NULL)
        fail_msg("%s: %s", expression, json_dumps(result, JSON_COMPACT));
    json_decref(result);
    return value;
}

bool
browser_true(struct browser *b, const char *expression)
{
    json_t *value = browser_value(b, expression);
    bool is = json_is_true(value);

    json_decref(value);
    return is;
}

void
browser_open(struct browser *b, const char *url)
{
    browser_do(b, "Page.navigate", json_pack("{s:s}", "url", url));
    WAIT_FOR(
        browser_true(b, "document.readyState === 'complete' && location.href !== 'about:blank'"),
        20000);
}

void
browser_key(struct browser *b, const char *key)
{
    const char *text = strlen(key) == 1 ? key : strcmp(key, "Enter") == 0 ? "\r" : "";

    browser_do(b, "Input.dispatchKeyEvent",
               json_pack("{s:s, s:s, s:s, s:s}", "type", text[0] != '\0' ? "keyDown" : "rawKeyDown",
                         "key", key, "code", key, "text", text));
    browser_do(b, "Input.dispatchKeyEvent",
               json_pack("{s:s, s:s, s:s}", "type", "keyUp", "key", key, "code", key));
}

void
browser_type(struct browser *b, const char *text)
{
    browser_do(b, "Input.insertText", json_pack("{s:s}", "text", text));
}

void
browser_look(struct browser *b, unsigned width, unsigned height, bool dark)
{
    b->width = width;
    b->dark = dark;
    browser_do(b, "Emulation.setDeviceMetricsOverride",
               json_pack("{s:i, s:i, s:i, s:b}", "width", (int)width, "height", (int)height,
                         "deviceScaleFactor", 1, "mobile", width < 600));
    browser_do(b, "Emulation.setEmulatedMedia",
               json_pack("{s:[{s:s, s:s}]}", "features", "name", "prefers-color-scheme", "value",
                         dark ? "dark" : "light"));
}

void
browser_shot(struct browser *b, const char *name)
{
    const char *dir = getenv("PAGE_SHOTS"), *data;
    char path[HARNESS_PATH_LEN];
    unsigned char *bytes;
    json_t *shot, *height;
    int n;

    if (dir == NULL)
        return;
    /* A window as high as the page: Chromium leaves canvases out of what is beyond the window. */
    height = browser_value(b, "document.documentElement.scrollHeight");
    browser_look(b, b->width, (unsigned)json_integer_value(height), b->dark);
    json_decref(browser_value(b, "new Promise((done) => setTimeout(() => done(1), 1500))"));
    shot = browser_call(b, "Page.captureScreenshot", json_pack("{s:s}", "format", "png"));
    data = json_string_value(json_object_get(shot, "data"));
    bytes = malloc(strlen(data));
    assert_non_null(bytes);
    n = EVP_DecodeBlock(bytes, (const unsigned char *)data, (int)strlen(data));
    assert_true(n > 0);
    snprintf(path, sizeof(path), "%s/%s.png", dir, name);
    harness_write_file(path, bytes, (size_t)n);
    free(bytes);
    json_decref(shot);
    json_decref(height);
}

#include "follow_fixture.h"

#include "handler/journal/following.h"
#include "support/wait.h"

#define LOOKS 3

const char *
follow_id(unsigned number)
{
    static char id[ULID_LEN + 8];

    snprintf(id, sizeof(id), "01ARYZ6S44%016u", number);
    return id;
}

void
follow_add(struct fixture *f, struct buffer *lines, unsigned number, const char *key,
           const char *name, const char *body)
{
    struct message_origin origin = {
        .listener = "msp://127.0.0.1:8000", .proto = "msp", .peer = "p"};
    char directory[16];
    struct record_place place = {.key = key, .directory = directory, .name = name};
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", body, strlen(body));
    struct record_clock clock = {0};
    size_t from = lines->len;

    record_head(lines, follow_id(number), clock_real_us(), &clock, &origin, m);
    if (key == NULL) {
        record_body(lines, from, MESSAGE_PLAIN, body, strlen(body));
    } else {
        snprintf(directory, sizeof(directory), "%ss/", key);
        record_end_with_place(lines, from, &place);
    }
    message_destroy(m);
}

void
follow_write(struct fixture *f, const char *segment, struct buffer *lines, mode_t mode)
{
    const char *path = fixture_path(f, segment), *to = path;
    struct stat before = {.st_mode = 0640};
    int fd;

    /* A sealed one is opened by root alone. A new one gets its name when it is whole: the recovery
     * of a worker would remove one that is empty and has no lock. */
    if (stat(path, &before) == 0)
        assert_int_equal(chmod(path, 0640), 0);
    else
        to = fixture_path(f, "new-segment");
    fd = open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, buffer_bytes(lines), lines->len), 0);
    assert_int_equal(fchmod(fd, mode != 0 ? mode : before.st_mode & 0777), 0);
    if (to != path)
        assert_int_equal(rename(to, path), 0);
    fd_close(&fd);
    buffer_fini(lines);
}

struct follow_item *
follow_expect(struct follow *f, unsigned number)
{
    uint64_t until_us = clock_mono_us() + (uint64_t)WAIT_PATIENCE * WAIT_SCALE * 10000000;
    struct follow_item *item = NULL;

    while (follow_next(f, &item) != 1) {
        assert_true(clock_mono_us() < until_us);
        usleep(1000);
    }
    assert_string_equal(item->id, follow_id(number));
    assert_true(record_is_whole(item->line, item->n));
    return item;
}

void
follow_expect_none(struct follow *f)
{
    struct follow_item *item;

    /* Not a time: a look that took long is followed by a pause that is ten times as long. */
    for (unsigned looks = 0; looks < LOOKS;) {
        uint64_t look_us = f->look_us;

        assert_int_not_equal(follow_next(f, &item), 1);
        looks += f->look_us != look_us;
        usleep(1000);
    }
}

void
follow_expect_all(struct follow *f, unsigned from, unsigned to)
{
    struct follow_item *item;

    for (unsigned number = from; number <= to; number++)
        follow_done(f, follow_expect(f, number));
    assert_int_not_equal(follow_next(f, &item), 1);
}

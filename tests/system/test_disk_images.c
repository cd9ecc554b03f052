/* Real file systems, and what they have on the disk at the moment of an ACK: an image is copied
 * while messages are sent, mended as a start of the machine would mend it, and read. */
#include "journal.h"
#include "msock.h"

#include "daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define IMAGE_COPIES   4  /* of each file system; IMAGE_COPIES in the environment: more */
#define IMAGE_MESSAGES 25 /* before each copy */
#define IMAGE_BODY     70000

struct file_system {
    const char *name, *make, *mend, *options;
};

static const struct file_system file_systems[] = {
    {"ext2", "mkfs.ext2 -q -F", "e2fsck -fy", ""},
    {"ext4", "mkfs.ext4 -q -F", "e2fsck -fy", ""},
    {"ext4 without a journal", "mkfs.ext4 -q -F -O ^has_journal", "e2fsck -fy", ""},
    {"xfs", "mkfs.xfs -q -f", NULL, ",nouuid"},
    {"btrfs", "mkfs.btrfs -q -f", NULL, ""},
};

/* Runs a command of the shell, a path at its end; its exit status. */
static int
shell(const char *command, const char *path)
{
    char line[2 * HARNESS_PATH_LEN];
    int status;

    snprintf(line, sizeof(line), "%s '%s' >/dev/null 2>&1", command, path);
    status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static bool
has_program(const struct file_system *fs)
{
    char name[32];

    sscanf(fs->make, "%31s", name);
    return shell("command -v", name) == 0;
}

/* One message of each kind in turn; its id is its number. Returns when it is acknowledged. */
static void
send_number(msock *m, unsigned number, const char *source, char *body)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "m%u", number);

    memset(body, 'a' + (int)(number % 26), IMAGE_BODY);
    memcpy(body, text, (size_t)n);
    assert_int_equal(msock_set_id(m, text, (size_t)n), MSOCK_OK);
    if (number % 3 == 0) {
        assert_int_equal(msock_send(m, body, 200), MSOCK_OK);
    } else if (number % 3 == 1) {
        assert_int_equal(msock_send(m, body, IMAGE_BODY), MSOCK_OK); /* a blob */
    } else {
        snprintf(text, sizeof(text), "d%u/e%u/m%u", number % 7, number % 5, number);
        harness_write_file(source, body, 5000);
        assert_int_equal(msock_send_file(m, source, text), MSOCK_OK);
    }
}

/* Every number below count is there, whole. */
static void
check_image(const char *image, const struct file_system *fs, const char *at, unsigned count)
{
    char data[HARNESS_PATH_LEN];
    struct daemon *d;
    struct journal j;

    if (fs->mend != NULL)
        assert_true(shell(fs->mend, image) <= 1);
    assert_true(harness_mount_image(image, fs->options, at));
    harness_join(data, at, "data");
    d = daemon_start(&(struct daemon_options){.workers = 1, .data_dir = data});
    daemon_stop(d); /* it has recovered */
    journal_load(data, false, &j);
    journal_check(&j);
    for (unsigned number = 0; number < count; number++) {
        char key[32], path[64];
        size_t found = 0;

        snprintf(key, sizeof(key), "m%u", number);
        snprintf(path, sizeof(path), "files/d%u/e%u/m%u", number % 7, number % 5, number);
        for (size_t i = 0; i < j.count; i++)
            found += strcmp(j.entries[i].key, key) == 0 || strcmp(j.entries[i].file, path) == 0;
        if (found == 0)
            fail_msg("%s: message %u of %u is not there", fs->name, number, count);
    }
    journal_free(&j);
    harness_unmount(at);
}

/* Sends, and copies the image right after an ACK, again and again. */
static void
send_and_copy(const char *image, const char *at, const char *source, unsigned copies)
{
    char data[HARNESS_PATH_LEN], line[3 * HARNESS_PATH_LEN];
    static char body[IMAGE_BODY];
    unsigned number = 0;
    struct daemon *d;
    msock *m;

    harness_join(data, at, "data");
    d = daemon_start(&(struct daemon_options){.workers = 1, .data_dir = data});
    m = msock_open(d->listeners[0].url);
    for (unsigned i = 0; i < copies; i++) {
        for (unsigned k = 0; k < IMAGE_MESSAGES; k++)
            send_number(m, number++, source, body);
        snprintf(line, sizeof(line), "cp --sparse=always '%s' '%s.%u'", image, image, i);
        assert_int_equal(system(line), 0);
    }
    msock_close(m);
    daemon_stop(d);
}

/* The copies are mounted when the original is not: some file systems know each other by a UUID. */
static void
try_file_system(const struct file_system *fs, const char *dir, const char *at)
{
    const char *wanted = getenv("IMAGE_COPIES");
    unsigned copies = wanted != NULL ? (unsigned)atoi(wanted) : IMAGE_COPIES;
    char image[HARNESS_PATH_LEN], source[HARNESS_PATH_LEN], copy[HARNESS_PATH_LEN + 16];

    harness_join(image, dir, "image");
    harness_join(source, dir, "source");
    unlink(image);
    assert_int_equal(shell("truncate -s 320M", image), 0);
    if (!has_program(fs) || shell(fs->make, image) != 0 || !harness_mount_image(image, "", at)) {
        print_message("%s: not here\n", fs->name);
        return;
    }
    send_and_copy(image, at, source, copies);
    harness_unmount(at);
    for (unsigned i = 0; i < copies; i++) {
        snprintf(copy, sizeof(copy), "%s.%u", image, i);
        check_image(copy, fs, at, (i + 1) * IMAGE_MESSAGES);
        assert_int_equal(unlink(copy), 0);
    }
    print_message("%s: %u images\n", fs->name, copies);
}

static void
what_was_acknowledged_is_on_the_disk_at_that_moment(void **state)
{
    char dir[HARNESS_PATH_LEN], at[HARNESS_PATH_LEN];

    (void)state;
    harness_need_root();
    harness_directory(dir);
    harness_directory(at);
    for (size_t i = 0; i < MS_ARRAY_LEN(file_systems); i++)
        try_file_system(&file_systems[i], dir, at);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(what_was_acknowledged_is_on_the_disk_at_that_moment),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}

/* The log file before it is opened: made, given to the workers' user, or refused. */
#include "common/fd.h"
#include "guard.h"
#include "master/state.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sysexits.h>

struct place {
    char *dir;
    char log[4200], other[4200];
    struct config config;
};

static int
set_up(void **state)
{
    struct place *p = ms_calloc(1, sizeof(*p));

    p->dir = guard_tmpdir();
    snprintf(p->log, sizeof(p->log), "%s/log", p->dir);
    snprintf(p->other, sizeof(p->other), "%s/other", p->dir);
    p->config.log_file = p->log;
    *state = p;
    return 0;
}

static int
tear_down(void **state)
{
    struct place *p = *state;

    guard_tmpdir_remove(p->dir);
    free(p);
    return 0;
}

static void
a_missing_one_is_made_and_given_to_the_workers_user(void **state)
{
    struct place *p = *state;
    struct failure why;
    struct stat st;

    p->config.user = (char *)(uintptr_t) "nobody";
    p->config.uid = p->config.gid = 65534;
    assert_int_equal(log_file_prepare(&p->config, &why), 0);
    assert_int_equal(lstat(p->log, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_uid, geteuid() == 0 ? 65534 : geteuid());
}

static void
one_that_is_there_keeps_its_owner(void **state)
{
    struct place *p = *state;
    struct failure why;
    struct stat st;
    int fd = open(p->log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    fd_close(&fd);
    p->config.user = (char *)(uintptr_t) "nobody";
    p->config.uid = p->config.gid = 65534;
    assert_int_equal(log_file_prepare(&p->config, &why), 0);
    assert_int_equal(lstat(p->log, &st), 0);
    assert_int_equal(st.st_uid, geteuid());
}

static void
a_link_is_refused_with_a_sentence_and_leads_nowhere(void **state)
{
    struct place *p = *state;
    struct failure why;

    assert_int_equal(symlink(p->other, p->log), 0);
    assert_int_equal(log_file_prepare(&p->config, &why), -1);
    assert_int_equal(why.code, EX_CANTCREAT);
    assert_non_null(strstr(why.text, "is a symbolic link, which is not followed: name the file"));
    assert_int_equal(access(p->other, F_OK), -1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_missing_one_is_made_and_given_to_the_workers_user),
        TEST(one_that_is_there_keeps_its_owner),
        TEST(a_link_is_refused_with_a_sentence_and_leads_nowhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

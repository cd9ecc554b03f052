/* The rules are a file that is written with one call, always to the same length. What struck is a
 * second file, one byte a strike. */
#include "faults.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAULTS_LEN 1023 /* as tests/preload/faults.c reads them */

void
faults_need(void)
{
#ifdef MS_SANITIZE
    print_message("no preloaded library under the sanitizers\n");
    skip();
#endif
}

void
faults_set(const struct daemon *d, const char *rules)
{
    char whole[FAULTS_LEN] = "";
    int fd = open(d->faults_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_in_range(snprintf(whole, sizeof(whole), "%s", rules), 0, sizeof(whole) - 1);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, whole, sizeof(whole), 0), sizeof(whole));
    close(fd);
}

uint64_t
faults_struck(const struct daemon *d)
{
    char path[HARNESS_PATH_LEN + 8];
    struct stat st;

    snprintf(path, sizeof(path), "%s.log", d->faults_path);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Any bytes as a segment that a crash left: what stays is its beginning, ends with a whole line,
 * and a second start cuts nothing. */
#include "common/fd.h"
#include "common/log.h"
#include "handler/journal/data_dir.h"
#include "handler/journal/journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "x.ndjson"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct data_dirs dirs = DATA_DIRS_CLOSED;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char dir[] = "/tmp/fuzz_recovery.XXXXXX";

    (void)argc;
    (void)argv;
    log_set_level(LOG_LEVEL_ERROR);
    if (mkdtemp(dir) == NULL || data_dirs_open(&dirs, dir, &file_ops_unsynced) < 0) {
        perror(dir);
        exit(71);
    }
    return 0;
}

static void
check_what_is_left(const uint8_t *data, size_t n)
{
    int fd = openat(dirs.journal, NAME, O_RDONLY | O_CLOEXEC);
    off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    char *left = malloc((size_t)len + 1);

    if (fd < 0) {
        free(left);
        return;
    }
    if (len == 0 || (size_t)len > n || fd_pread_all(fd, left, (size_t)len, 0) < 0 ||
        memcmp(left, data, (size_t)len) != 0 || left[len - 1] != '\n')
        abort();
    free(left);
    close(fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct recovery_tally tally;
    int fd = openat(dirs.journal, NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    close(fd);
    recovery_run(&dirs, &file_ops_unsynced, &tally);
    check_what_is_left(data, n);
    recovery_run(&dirs, &file_ops_unsynced, &tally);
    if (tally.cut + tally.emptied + tally.failed != 0)
        abort();
    return 0;
}

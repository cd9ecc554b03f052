/* Any bytes as a segment that a crash or a bad disk left: afterwards all its lines are whole, none
 * that was whole is missing, and a second start changes nothing. */
#include "common/fd.h"
#include "common/log.h"
#include "handler/journal/data_dir.h"
#include "handler/journal/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME "01ARYZ6S410000000000000000-w0.ndjson"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct data_dirs dirs = DATA_DIRS_CLOSED;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char dir[] = "/tmp/fuzz_recovery.XXXXXX";
    struct config config = {.data_dir = dir};
    char error[CONFIG_ERROR_LEN];
    struct dir_syncs syncs;

    (void)argc;
    (void)argv;
    log_set_level(LOG_LEVEL_ERROR);
    dir_syncs_init(&syncs, &file_ops_unsynced);
    if (mkdtemp(dir) == NULL || data_dir_prepare(&config, NULL, error) < 0 ||
        data_dirs_open(&dirs, &config, &syncs) < 0) {
        perror(dir);
        exit(71);
    }
    dir_syncs_fini(&syncs);
    return 0;
}

struct count {
    unsigned whole, other;
};

static int
count_line(void *arg, const struct segment_line *line)
{
    struct count *count = arg;

    if (!line->whole || line->bad_end)
        count->other++;
    if (line->whole && !record_is_damage(line->text, line->n - 1))
        count->whole++;
    return 0;
}

static struct count
count_lines(void)
{
    struct count count = {0};
    int fd = openat(dirs.journal, NAME, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && segment_scan(&file_ops_unsynced, fd, 0, (uint64_t)lseek(fd, 0, SEEK_END),
                                count_line, &count) < 0)
        abort();
    fd_close(&fd);
    return count;
}

/* What recovery keeps would fill the directory, which each recovery reads. */
static void
empty_damaged(void)
{
    int fd = openat(dirs.journal, DAMAGED_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (dir == NULL)
        return; /* nothing was damaged yet */
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(fd, entry->d_name, 0);
    closedir(dir);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    int fd = openat(dirs.journal, NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct recovery_tally tally;
    struct count before, after;

    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    fd_close(&fd);
    before = count_lines();
    recovery_run(&dirs, &file_ops_unsynced, NULL, &tally);
    after = count_lines();
    if (after.other != 0 || after.whole < before.whole)
        abort();
    recovery_run(&dirs, &file_ops_unsynced, NULL, &tally);
    if (tally.cut + tally.emptied + tally.damaged + tally.failed != 0)
        abort();
    empty_damaged();
    return 0;
}

#include "guard.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/mman.h>

struct guard
guard_create(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct guard g = {.usable = (n / page + 1) * page};

    g.map = mmap(NULL, g.usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(g.map, MAP_FAILED);
    assert_int_equal(mprotect(g.map + g.usable, page, PROT_NONE), 0);
    return g;
}

void
guard_destroy(struct guard *g)
{
    munmap(g->map, g->usable + (size_t)sysconf(_SC_PAGESIZE));
}

char *
guard_copy(struct guard *g, const void *data, size_t n)
{
    char *at = g->map + g->usable - n;

    assert_true(n <= g->usable);
    if (n > 0)
        memcpy(at, data, n);
    return at;
}

void
guard_directory(char *out, size_t size)
{
    const char *base = getenv("TMPDIR");

    snprintf(out, size, "%s/msock-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(out));
}

char *
guard_tmpdir(void)
{
    char path[4096];

    guard_directory(path, sizeof(path));
    return strdup(path);
}

unsigned
guard_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static int
guard_remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void
guard_tmpdir_remove(char *dir)
{
    assert_int_equal(nftw(dir, guard_remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(dir);
}

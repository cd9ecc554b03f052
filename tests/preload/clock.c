/* Preloaded into the daemon by the system tests: sets the wall clock back or forward. The file
 * named by $MSOCK_CLOCK holds so many seconds, as an int64_t; it is mapped, so that it can be
 * changed while the daemon runs. The other clocks are the real ones. A clock that was set is not
 * synchronized; one that was not is. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static const _Atomic int64_t *clock_shift;

/* At the start, since a worker in its sandbox cannot open it. */
__attribute__((constructor)) static void
open_shift(void)
{
    const char *path = getenv("MSOCK_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*clock_shift), PROT_READ, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    if (map != MAP_FAILED)
        clock_shift = map;
}

static int64_t
shift_now(void)
{
    return clock_shift != NULL ? atomic_load(clock_shift) : 0;
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ts->tv_sec += shift_now();
    return rc;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t
time(time_t *out)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (out != NULL)
        *out = ts.tv_sec;
    return ts.tv_sec;
}

int
adjtimex(struct timex *tx)
{
    *tx = (struct timex){.status = shift_now() != 0 ? STA_UNSYNC : 0};
    return shift_now() != 0 ? TIME_ERROR : TIME_OK;
}

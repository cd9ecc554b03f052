/* A bar that shows how far a message has come. Invariant: it takes one line of the terminal,
 * however narrow. */
#include "command.h"

#include "common/base.h"
#include "common/text.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PROGRESS_PATIENCE_US 200000u
#define PROGRESS_INTERVAL_US 100000u
#define PROGRESS_BAR_MAX     40u
#define PROGRESS_LABEL_MAX   30u

/* "0:07", "12:05", "3:02:11". */
static void
number_clock(double seconds, char out[TEXT_BYTES_LEN])
{
    unsigned long s = seconds < 0 ? 0 : seconds > 3.6e8 ? 360000000ul : (unsigned long)seconds;

    if (s >= 3600)
        snprintf(out, TEXT_BYTES_LEN, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, TEXT_BYTES_LEN, "%lu:%02lu", s / 60, s % 60);
}

void
progress_init(struct progress *progress, const char *label)
{
    *progress = (struct progress){.began_us = clock_mono_us()};
    say_clean(label, progress->label, sizeof(progress->label));
}

static unsigned
progress_width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

static void
progress_bar(unsigned cells, unsigned percent, char *out)
{
    unsigned full = cells * percent / 100;

    *out++ = '[';
    for (unsigned i = 0; i < cells; i++)
        *out++ = i < full ? '=' : i == full ? '>' : ' ';
    *out++ = ']';
    *out = '\0';
}

/* Never cut inside a character: a terminal would show rubbish for the rest of it. */
static int
progress_label_len(const char *label, size_t max)
{
    size_t n = strlen(label);

    if (n <= max)
        return (int)n;
    while (max > 0 && ((unsigned char)label[max] & 0xc0) == 0x80)
        max--;
    return (int)max;
}

/* The line itself, without line ends, at most width columns and n bytes with NUL. */
static void
progress_format(const char *label, uint64_t done, uint64_t total, double rate, unsigned width,
                char *out, size_t n)
{
    unsigned percent = total == 0 || done >= total ? 100 : (unsigned)((double)done / total * 100);
    char done_text[TEXT_BYTES_LEN], total_text[TEXT_BYTES_LEN], rate_text[TEXT_BYTES_LEN];
    char left_text[TEXT_BYTES_LEN] = "-:--", bar[PROGRESS_BAR_MAX + 3] = "", rest[128];
    unsigned label_max = width / 4 < PROGRESS_LABEL_MAX ? width / 4 : PROGRESS_LABEL_MAX;
    int label_len = progress_label_len(label, label_max);
    unsigned used;

    text_bytes((double)done, done_text);
    text_bytes((double)total, total_text);
    text_bytes(rate, rate_text);
    if (rate > 0)
        number_clock((double)(total - (done < total ? done : total)) / rate + 0.5, left_text);
    used = (unsigned)label_len + 7 +
           (unsigned)snprintf(rest, sizeof(rest), "%s of %s  %s/s  %s left", done_text, total_text,
                              rate_text, left_text);
    if (used + 14 <= width)
        progress_bar(width - used - 5 < PROGRESS_BAR_MAX ? width - used - 5 : PROGRESS_BAR_MAX,
                     percent, bar);
    snprintf(out, n, "%.*s %3u%%  %s%s%s", label_len, label, percent, bar, *bar != '\0' ? "  " : "",
             rest);
    if (strlen(out) >= width && width > 0)
        out[progress_label_len(out, width - 1)] = '\0';
}

/* A message that is begun again sets done back; the rate then starts anew. */
static void
progress_rate(struct progress *progress, uint64_t now, uint64_t done)
{
    uint64_t since = progress->drawn_us != 0 ? progress->drawn_us : progress->began_us;
    double seconds = (double)(now - since) / 1e6;
    double rate;

    if (done < progress->drawn_done) {
        progress->rate = 0;
        return;
    }
    if (seconds <= 0)
        return;
    rate = (double)(done - progress->drawn_done) / seconds;
    progress->rate = progress->rate > 0 ? 0.8 * progress->rate + 0.2 * rate : rate;
}

void
progress_show(struct progress *progress, uint64_t done, uint64_t total)
{
    uint64_t now = clock_mono_us();
    char line[1024];

    if (now - progress->began_us < PROGRESS_PATIENCE_US)
        return;
    if (progress->drawn_us != 0 && now - progress->drawn_us < PROGRESS_INTERVAL_US && done < total)
        return;
    progress_rate(progress, now, done);
    progress->drawn_us = now;
    progress->drawn_done = done;
    progress_format(progress->label, done, total, progress->rate, progress_width(), line,
                    sizeof(line));
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
}

void
progress_clear(struct progress *progress)
{
    if (progress->drawn_us == 0)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->drawn_us = 0;
}

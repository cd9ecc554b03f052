#include "numbers.h"

#include "common/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool
number_parse(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value;

    if (text_parse_size(text, &value) < 0 || value > max)
        return false;
    *out = value;
    return true;
}

bool
number_seconds(const char *text, double max, double *out)
{
    char *end;
    double value;

    if (!isdigit((unsigned char)*text) && *text != '.')
        return false;
    value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value > max)
        return false;
    *out = value;
    return true;
}

bool
number_switch(const char *text, bool *out)
{
    if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
        return false;
    *out = strcmp(text, "on") == 0;
    return true;
}

void
number_bytes(double bytes, char out[NUMBER_TEXT_LEN])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, NUMBER_TEXT_LEN, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

void
number_clock(double seconds, char out[NUMBER_TEXT_LEN])
{
    unsigned long s = seconds < 0 ? 0 : seconds > 3.6e8 ? 360000000ul : (unsigned long)seconds;

    if (s >= 3600)
        snprintf(out, NUMBER_TEXT_LEN, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, NUMBER_TEXT_LEN, "%lu:%02lu", s / 60, s % 60);
}

uint64_t
number_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

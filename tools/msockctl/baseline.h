/* The baseline of `stats --since FILE`: the numbers at one moment, kept by the reader, so that
 * nobody ever has to set the daemon's counters back. */
#ifndef MSOCKCTL_BASELINE_H
#define MSOCKCTL_BASELINE_H

#include "ctl.h"
#include "snapshot.h"

#include <jansson.h>

struct baseline {
    char boot_id[BOOT_ID_LEN];
    char time[64]; /* RFC 3339 */
    json_t *document;
};

/* Reads FILE, or creates it from the snapshot where it is missing. Returns EX_OK, or a status after
 * an error message. */
MS_MUST_CHECK int baseline_open(const struct ctl *ctl, const char *path,
                                const struct snapshot *snapshot, struct baseline *out);
void baseline_close(struct baseline *baseline);

/* Subtracts from the totals and from each worker what they had at the baseline. Of another run of
 * msockd nothing is subtracted: all that this one counted came after. */
void baseline_subtract(const struct baseline *baseline, struct snapshot *snapshot);

#endif

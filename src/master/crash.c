/* What a worker left when it died: its words are put into a line of log and used for nothing else.
 * They may be anything; the log escapes them, and the line has an end. */
#include "master/state.h"

#include <inttypes.h>

#define CRASH_LINE_LEN 1500

/* "read_it+0x1f (msockd+0x4711), feed_it+0x2 (msockd+0x815)", as many as there is room for. */
static void
crash_functions(const struct stats_crash_note *note, char out[CRASH_LINE_LEN])
{
    uint32_t n = atomic_load(&note->frame_count);
    char frame[STATS_FRAME_LEN];
    size_t len = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < n && i < STATS_FRAMES; i++) {
        size_t more = stats_frame_format(&note->frames[i], frame);

        if (len + more + 3 > CRASH_LINE_LEN)
            break;
        len += (size_t)snprintf(out + len, CRASH_LINE_LEN - len, "%s%s", i > 0 ? ", " : "", frame);
    }
}

static void
crash_say_reading(const struct master *m, const char *name, const struct stats_crash *crash,
                  const struct stats_slot *slot)
{
    const struct stats_listener *row =
        &m->stats.control->listener[slot->listener % STATS_LISTENERS];
    char peer[ENDPOINT_TEXT_LEN];

    stats_peer_format(slot->family, slot->address, slot->port, peer);
    log_line(LOG_worker_was_reading,
             "%s (pid %d) was reading connection %d.%llu, from %s over %s, when it died", name,
             (int)crash->pid, (int)crash->pid, (unsigned long long)slot->id, peer, row->url);
}

void
crash_keep(struct master *m, const struct process *w, int status)
{
    const struct stats_crash *crash = stats_master_crashed(&m->stats, &w->place, status);
    const struct stats_crash_note *note = &crash->recorder.note;
    char functions[CRASH_LINE_LEN], address[40] = "";

    for (unsigned i = 0; i < STATS_READING; i++)
        if (crash->reading[i].id != 0)
            crash_say_reading(m, w->name, crash, &crash->reading[i]);
    if (atomic_load(&note->signal) == 0)
        return;
    crash_functions(note, functions);
    if (note->address != STATS_NO_ADDRESS)
        snprintf(address, sizeof(address), " at address 0x%" PRIx64, note->address);
    log_line(LOG_worker_crashed_in, "%s (pid %d) crashed%s in %s", w->name, (int)w->pid, address,
             functions);
}

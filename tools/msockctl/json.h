/* JSON output. Keys of counters are the names in stats_layout.h. */
#ifndef MSOCKCTL_JSON_H
#define MSOCKCTL_JSON_H

#include "snapshot.h"

#include <jansson.h>

/* The functions that build a document abort when memory is out and return a new reference. */

/* Text as it is where it is UTF-8, else escaped. */
json_t *json_text(const char *text);
json_t *json_count(uint64_t n);
json_t *json_seconds(uint64_t us);

/* Sets a key to a value whose reference it takes. */
void json_put(json_t *object, const char *key, json_t *value);

void json_put_conn_counters(json_t *object, const struct stats_counts *counts);
void json_put_worker_counters(json_t *object, const struct stats_counts *counts);

/* worker, pid, state, ..., the counters and the latency of one worker. */
json_t *json_worker(const struct stats_worker_view *worker, uint64_t now_us);

/* The document of `stats --json`; since: the time of the baseline, or NULL. */
json_t *json_snapshot(const struct snapshot *snapshot, const char *since);

/* Writes document and a line feed to standard output and gives up the reference; indented unless
 * compact. */
void json_print(json_t *document, bool compact);

#endif

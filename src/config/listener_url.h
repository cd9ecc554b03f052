/* From a listener's URL to its configuration:
 * msp://127.0.0.1:8000?handler=echo&timeout=5s, msp:///run/msock.sock?mode=0666. */
#ifndef CONFIG_LISTENER_URL_H
#define CONFIG_LISTENER_URL_H

#include "config/config_settings.h"

/* Reads and resolves the URL (may block on a host name); what it does not say comes from settings.
 * Returns 0 and a listener, which listener_config_fini frees, or -1 with a sentence that begins
 * with origin in error. */
MS_MUST_CHECK int
listener_config_read(const char *text, const char *origin, const struct settings *settings,
                     struct listener_config *listener_out, char error[CONFIG_ERROR_LEN]);
void listener_config_fini(struct listener_config *listener);

/* The same URL with another host or port (NULL: as it was), as --host and --port ask. Returns a
 * string that the caller frees, or NULL with a sentence in error. */
char *listener_url_move(const char *text, const char *origin, const char *host, const char *port,
                        char error[CONFIG_ERROR_LEN]);

/* The limits that these values of the options make. */
void listener_limits(const uint64_t number[OPTION_COUNT], struct proto_limits *limits_out);

#endif

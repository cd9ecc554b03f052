/* The configuration file, read by libconfuse: flat "name = value" lines and lists in braces. */
#ifndef CONFIG_CONFIG_FILE_H
#define CONFIG_CONFIG_FILE_H

#include "config/config_settings.h"

/* Reads the file at path into settings; shown is its name in sentences. Returns 0, or -1 with
 * "shown:LINE: ..." in error, and settings half set. Not to be called by two threads at once: the
 * scanner of libconfuse is one for the process. */
MS_MUST_CHECK int config_file_read(const char *path, const char *shown, struct settings *settings,
                                   char error[CONFIG_ERROR_LEN]);

#endif

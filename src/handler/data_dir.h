/* The data directory: journal/, files/, blobs/ and what is on its way into them. */
#ifndef HANDLER_DATA_DIR_H
#define HANDLER_DATA_DIR_H

#include "config/config.h"

/* Creates what is missing (0750; given to config->uid and gid where the master is root and these are
 * set) and checks that the workers will be able to write there. In the master, before the fork. Returns
 * 0, or -1 with a sentence in error that names the directory and the reason. */
MS_MUST_CHECK int data_dir_prepare(const struct config *config, char error[CONFIG_ERROR_LEN]);

/* A new unlinked file, read-write, on the file system of files/, so that it can be linked there.
 * Returns its descriptor, or -1 with errno. */
int data_dir_spill_open(const struct config *config);

#endif

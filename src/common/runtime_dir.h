/* Where msockd keeps its shared memory and its lock when no directory is named. msockd and msockctl
 * must agree, so the rule stands here once. */
#ifndef COMMON_RUNTIME_DIR_H
#define COMMON_RUNTIME_DIR_H

#include "common/base.h"

/* $RUNTIME_DIRECTORY (the first one, where systemd names several), else $XDG_RUNTIME_DIR/msockd,
 * else /run/msockd for root, else /tmp/msockd-<uid>. Variables that hold no absolute path count as
 * unset. Heap string, caller frees. */
MS_MUST_CHECK char *runtime_dir_default(void);

#endif

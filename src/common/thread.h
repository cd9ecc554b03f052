/* A thread of ours beside those of the program around it. */
#ifndef COMMON_THREAD_H
#define COMMON_THREAD_H

#include "common/base.h"

#include <pthread.h>

/* Starts a thread with all signals blocked: they are the loop's, or those of the program around it.
 * The name, of at most 15 bytes, is what ps shows. Returns 0, or -1 with errno. */
MS_MUST_CHECK int
thread_start(pthread_t *thread_out, const char *name, void *(*run)(void *arg), void *arg);

#endif

/* Why something could not be done: a sentence for people and the exit status that goes with it. */
#ifndef MASTER_FAILURE_H
#define MASTER_FAILURE_H

#include "common/base.h"

#define FAILURE_TEXT_LEN 512

struct failure {
    int code; /* of sysexits.h */
    char text[FAILURE_TEXT_LEN];
};

/* Fills in both; a text that is too long is cut. */
void failure_set(struct failure *f, int code, const char *fmt, ...) MS_PRINTF(3, 4);

#endif

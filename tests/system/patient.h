/* A world that `msockctl doctor` is asked about, and what its checks must say of it. */
#ifndef SYSTEM_PATIENT_H
#define SYSTEM_PATIENT_H

#include "daemon.h"

struct patient {
    const char *runtime_dir, *config, *root;
    struct run_options how;
};

/* Runs one check. */
struct run_result patient_look(const struct patient *p, const char *check);

/* The check is fine; "unknown" would be none. */
void patient_expect_fine(const struct patient *p, const char *check);

/* It is wrong, says so with these words, and names a command. */
void patient_expect_wrong(const struct patient *p, const char *check, const char *said);

#endif

/* msockctl doctor: looks at what a msockd depends on, one check after the other. A check says that
 * something is fine, or what is wrong and the command that mends it, or that it cannot tell. It
 * changes nothing, and what it tries on the disk leaves nothing behind. */
#ifndef MSOCKCTL_DOCTOR_DOCTOR_H
#define MSOCKCTL_DOCTOR_DOCTOR_H

#include "config/config.h"
#include "msockctl/ctl.h"

#define DOCTOR_MANY 1000 /* one in so many is too much */

struct doctor {
    const struct ctl *ctl;
    const char *root;      /* files beneath it count instead of those of /proc and /sys, or "" */
    bool known;            /* stats has something: a msockd runs, or ran last */
    struct snapshot stats; /* pid 0 where none runs any more */
    char unread[256];      /* one runs, and this is why stats has nothing; else "" */
    struct config
        *config; /* of the msockd that runs, or of --config; NULL: config_error says why */
    char config_error[CONFIG_ERROR_LEN];
    bool config_wrong;  /* it was read, and is not right */
    char data_dir[512]; /* "" where it is not known */
};

enum doctor_verdict { DOCTOR_FINE, DOCTOR_WRONG, DOCTOR_UNKNOWN };

struct doctor_finding {
    char text[1024];
    char mend[512]; /* a command; "" where nothing is wrong */
};

struct doctor_check {
    const char *name;
    enum doctor_verdict (*look)(const struct doctor *d, struct doctor_finding *f);
};

/* Tables that end with a row without a name. */
extern const struct doctor_check doctor_daemon[], doctor_config[], doctor_limits[],
    doctor_network[], doctor_machine[], doctor_disk[];

/* --- what a check returns (facts.c) --- */

enum doctor_verdict doctor_fine(struct doctor_finding *f, const char *fmt, ...) MS_PRINTF(2, 3);
enum doctor_verdict doctor_wrong(struct doctor_finding *f, const char *fmt, ...) MS_PRINTF(2, 3);
enum doctor_verdict doctor_unknown(struct doctor_finding *f, const char *fmt, ...) MS_PRINTF(2, 3);

/* The command that mends; before doctor_wrong. */
void doctor_mend(struct doctor_finding *f, const char *fmt, ...) MS_PRINTF(2, 3);

/* --- what the kernel says (facts.c) --- */

#define DOCTOR_FILE_MAX 32768

/* Reads a file of /proc or /sys, cut to out. False where there is none. */
bool doctor_read(const struct doctor *d, const char *path, char out[DOCTOR_FILE_MAX]);

/* The number that such a file begins with, and the one behind a word in it. */
bool doctor_number(const struct doctor *d, const char *path, uint64_t *out);
bool doctor_field(const struct doctor *d, const char *path, const char *word, uint64_t *out);

/* The same of /proc/PID/NAME. */
bool doctor_process_field(const struct doctor *d, int pid, const char *name, const char *word,
                          uint64_t *out);

/* The finding of a check that could not read a file. */
enum doctor_verdict doctor_unread(struct doctor_finding *f, const char *path);

/* The finding of a check of the running msockd where none runs. */
enum doctor_verdict doctor_not_running(struct doctor_finding *f);

/* The largest backlog of the configured listeners; 0: not known. */
uint64_t doctor_backlog(const struct doctor *d);

#endif

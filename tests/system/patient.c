/* Runs single checks of msockctl doctor. */
#include "patient.h"

#include <string.h>

static void
patient_words(const struct patient *p, const char *check, const char *argv[12])
{
    size_t n = 0;

    argv[n++] = harness_program("msockctl");
    argv[n++] = "-r";
    argv[n++] = p->runtime_dir != NULL ? p->runtime_dir : "/nonexistent";
    argv[n++] = "doctor";
    if (p->config != NULL) {
        argv[n++] = "--config";
        argv[n++] = p->config;
    }
    if (p->root != NULL) {
        argv[n++] = "--root";
        argv[n++] = p->root;
    }
    argv[n++] = check;
    argv[n] = NULL;
}

struct run_result
patient_look(const struct patient *p, const char *check)
{
    const char *argv[12];
    struct run_result result;
    struct running r;

    patient_words(p, check, argv);
    run_start(&r, argv, &p->how);
    run_finish(&r, 20000, &result);
    return result;
}

void
patient_expect_fine(const struct patient *p, const char *check)
{
    struct run_result result = patient_look(p, check);

    if (result.status != 0 || strncmp(result.out, "fine ", 5) != 0)
        fail_msg("%s is not fine (status %d): %s%s", check, result.status, result.out, result.err);
    run_result_free(&result);
}

void
patient_expect_wrong(const struct patient *p, const char *check, const char *said)
{
    struct run_result result = patient_look(p, check);

    if (result.status != 1 || strncmp(result.out, "WRONG ", 6) != 0 ||
        strstr(result.out, said) == NULL || strstr(result.out, "-> ") == NULL)
        fail_msg("%s is not wrong, or does not say \"%s\" (status %d): %s%s", check, said,
                 result.status, result.out, result.err);
    run_result_free(&result);
}

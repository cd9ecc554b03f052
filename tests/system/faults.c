/* The rules are a file that is replaced as a whole, so the library never reads half of them. What
 * struck is a second file, one byte a strike. */
#include "faults.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void
faults_need(void)
{
#ifdef MS_SANITIZE
    print_message("no preloaded library under the sanitizers\n");
    skip();
#endif
}

void
faults_set(const struct daemon *d, const char *rules)
{
    char fresh[HARNESS_PATH_LEN + 8];

    snprintf(fresh, sizeof(fresh), "%s.new", d->faults_path);
    harness_write_file(fresh, rules, strlen(rules));
    assert_int_equal(rename(fresh, d->faults_path), 0);
}

uint64_t
faults_struck(const struct daemon *d)
{
    char path[HARNESS_PATH_LEN + 8];
    struct stat st;

    snprintf(path, sizeof(path), "%s.log", d->faults_path);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Preloaded into programs by the system tests: names with several addresses, and addresses that
 * change. The file named by $MSOCK_HOSTS holds lines NAME ADDRESS, in the order of the answer; it
 * is read anew at each call. What it does not have is looked up as usual. The question for a name
 * whose address is "never" has no answer. */
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*lookup_fn)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* Appends the addresses that the file has for that name. The lists are those of the real function,
 * joined, so that the real freeaddrinfo can free them. */
static struct addrinfo *
hosts_find(FILE *f, lookup_fn lookup, const char *node, const char *service,
           const struct addrinfo *hints)
{
    struct addrinfo *all = NULL, **end = &all, numeric = *hints;
    char name[128], address[128];

    numeric.ai_flags |= AI_NUMERICHOST;
    while (fscanf(f, "%127s %127s", name, address) == 2) {
        while (strcmp(name, node) == 0 && strcmp(address, "never") == 0)
            pause();
        if (strcmp(name, node) == 0 && lookup(address, service, &numeric, end) == 0)
            while (*end != NULL)
                end = &(*end)->ai_next;
    }
    return all;
}

int
getaddrinfo(const char *restrict node, const char *restrict service,
            const struct addrinfo *restrict hints, struct addrinfo **restrict result_out)
{
    lookup_fn lookup = (lookup_fn)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *path = getenv("MSOCK_HOSTS");
    FILE *f = path != NULL && node != NULL && hints != NULL && !(hints->ai_flags & AI_NUMERICHOST)
                  ? fopen(path, "re")
                  : NULL;
    struct addrinfo *found = NULL;

    if (f != NULL) {
        found = hosts_find(f, lookup, node, service, hints);
        fclose(f);
    }
    if (found == NULL)
        return lookup(node, service, hints, result_out);
    *result_out = found;
    return 0;
}

/* Paths from the wire, looked at as text: see the header. What a path leads to on the disk is a
 * second question, which the kernel answers when it is opened. */
#include "proto/message.h"

#include "common/text.h"

#include <string.h>

#define PATH_COMPONENT_MAX  255
#define PATH_COMPONENTS_MAX 32

static const char *
path_check_component(const char *name, size_t n)
{
    const size_t own = sizeof(PATH_OWN_PREFIX) - 1;

    if (n == 0)
        return "the path has an empty component";
    if (n == 1 && name[0] == '.')
        return "the path has a component \".\"";
    if (n == 2 && name[0] == '.' && name[1] == '.')
        return "the path has a component \"..\"";
    if (n > PATH_COMPONENT_MAX)
        return "a component of the path is longer than 255 bytes";
    if (n >= own && memcmp(name, PATH_OWN_PREFIX, own) == 0)
        return "names that begin with " PATH_OWN_PREFIX " are the server's own";
    return NULL;
}

const char *
path_check(const char *path, size_t n)
{
    const char *reason = NULL;
    unsigned components = 0;

    if (n == 0)
        return "the path is empty";
    if (path[0] == '/')
        return "the path is absolute";
    if (memchr(path, '\0', n) != NULL)
        return "the path has a NUL byte";
    if (!text_is_utf8(path, n))
        return "the path is not UTF-8";
    for (size_t begin = 0; begin <= n && reason == NULL;) {
        const char *slash = begin < n ? memchr(path + begin, '/', n - begin) : NULL;
        size_t end = slash == NULL ? n : (size_t)(slash - path);

        reason = path_check_component(path + begin, end - begin);
        if (reason == NULL && ++components > PATH_COMPONENTS_MAX)
            reason = "the path has more than 32 components";
        begin = end + 1;
    }
    return reason;
}

/* Loads a module. Invariant: the file is checked before it is loaded, because loading runs its
 * code; its members are read only after its ABI and size fit. */
#include "handler/module/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#define MODULE_PATH_SHOWN 100

void
module_load_error(char error[HANDLER_ERROR_LEN], const char *path, const char *format, ...)
{
    size_t len = strlen(path);
    bool cut = len > MODULE_PATH_SHOWN;
    va_list ap;
    int n;

    if (cut)
        path += len - MODULE_PATH_SHOWN;
    n = snprintf(error, HANDLER_ERROR_LEN, "%s%s: ", cut ? "..." : "", path);
    va_start(ap, format);
    (void)vsnprintf(error + n, HANDLER_ERROR_LEN - (size_t)n, format, ap);
    va_end(ap);
}

/* Checks the file before it is loaded: its code runs in the worker. Waiting for the writer of a
 * FIFO would hold up the start as well. */
static int
module_check_file(const char *path, char error[HANDLER_ERROR_LEN])
{
    struct stat st;

    if (stat(path, &st) < 0) {
        module_load_error(error, path, "%s", strerror(errno));
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        module_load_error(error, path, "not a regular file");
        return -1;
    }
    if ((st.st_mode & S_IWOTH) != 0) {
        module_load_error(error, path, "everybody may write to it (mode %04o); chmod o-w",
                          (unsigned)st.st_mode & 07777);
        return -1;
    }
    return 0;
}

/* abi and size come first in every version; the other members are read only when these fit. */
static int
module_check(const char *path, const struct msock_module *module, char error[HANDLER_ERROR_LEN])
{
    if (module->abi != MSOCK_MODULE_ABI)
        module_load_error(error, path,
                          "made for ABI %u, this msockd has %u; build it again with its "
                          "msock_module.h",
                          module->abi, (unsigned)MSOCK_MODULE_ABI);
    else if (module->size != sizeof(*module))
        module_load_error(error, path,
                          "its struct msock_module has %u bytes, this msockd's has %zu; build it "
                          "again with its msock_module.h",
                          module->size, sizeof(*module));
    else if (module->name == NULL || module->name[0] == '\0')
        module_load_error(error, path, "its msock_module has no name");
    else if (module->start == NULL || module->message == NULL)
        module_load_error(error, path, "its msock_module has no %s callback",
                          module->start == NULL ? "start" : "message");
    else
        return 0;
    return -1;
}

/* The text of dlerror usually begins with the path. */
static void
module_say_dlerror(char error[HANDLER_ERROR_LEN], const char *path)
{
    const char *reason = dlerror();
    size_t len = strlen(path);

    if (reason == NULL)
        reason = "it cannot be loaded";
    if (strncmp(reason, path, len) == 0 && strncmp(reason + len, ": ", 2) == 0)
        reason += len + 2;
    module_load_error(error, path, "%s", reason);
}

int
module_load(const char *path, struct module_file *file_out, char error[HANDLER_ERROR_LEN])
{
    struct module_file file = {0};

    if (module_check_file(path, error) < 0)
        return -1;
    file.object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (file.object == NULL) {
        module_say_dlerror(error, path);
        return -1;
    }
    file.module = dlsym(file.object, "msock_module");
    if (file.module == NULL)
        module_load_error(error, path, "it does not define msock_module, so it is no module");
    else if (module_check(path, file.module, error) == 0) {
        *file_out = file;
        return 0;
    }
    module_unload(&file);
    return -1;
}

void
module_unload(struct module_file *file)
{
    if (file->object != NULL)
        (void)dlclose(file->object);
    *file = (struct module_file){0};
}

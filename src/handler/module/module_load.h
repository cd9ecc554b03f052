/* A shared object becomes a module: found fit to be loaded, loaded, and found to be made for this
 * msockd. */
#ifndef HANDLER_MODULE_MODULE_LOAD_H
#define HANDLER_MODULE_MODULE_LOAD_H

#include "handler/handler.h"
#include "msock_module.h"

struct module_file {
    void *object; /* dlopen's */
    const struct msock_module *module;
};

/* Loads the object at path (absolute), which runs its constructors. Refused is what is no regular
 * file or may be written by everybody, and a module of another ABI, without a name, start or
 * message. Returns 0 and the file, or -1 with a sentence in error. */
MS_MUST_CHECK int
module_load(const char *path, struct module_file *file_out, char error[HANDLER_ERROR_LEN]);
void module_unload(struct module_file *file);

/* Writes "path: reason" to error; a long path loses its beginning, so that the reason is seen. */
void module_load_error(char error[HANDLER_ERROR_LEN], const char *path, const char *format, ...)
    MS_PRINTF(3, 4);

#endif

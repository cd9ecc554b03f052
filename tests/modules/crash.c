/* Takes its worker with it when a message says "crash"; settles all others. */
#include <msock_module.h>

#include <signal.h>
#include <string.h>

static enum msock_module_result
crash_message(void *state, const struct msock_module_message *message)
{
    (void)state;
    if (message->size == 5 && memcmp(message->data, "crash", 5) == 0) {
        signal(SIGSEGV, SIG_DFL); /* no sanitizer has a say in it */
        raise(SIGSEGV);
    }
    return MSOCK_MODULE_COMMIT;
}

#define NAME    "crash"
#define MESSAGE crash_message
#include "least.h"

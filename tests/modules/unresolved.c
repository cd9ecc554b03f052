/* Needs a function that nobody has. */
#include <msock_module.h>

enum msock_module_result nobody_has_this(void *state, const struct msock_module_message *message);

#define MESSAGE nobody_has_this
#include "least.h"

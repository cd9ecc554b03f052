/* Made with another msock_module.h of the same ABI. */
#define SIZE (sizeof(struct msock_module) + 8)
#include "least.h"

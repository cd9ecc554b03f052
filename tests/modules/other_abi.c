/* Made for a later msockd: only its first two members can be understood. */
#define ABI     (MSOCK_MODULE_ABI + 1)
#define SIZE    8
#define NAME    NULL
#define START   NULL
#define MESSAGE NULL
#include "least.h"

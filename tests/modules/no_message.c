/* Has no message callback. */
#define MESSAGE NULL
#include "least.h"

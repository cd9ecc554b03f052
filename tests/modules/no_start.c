/* Has no start callback. */
#define START NULL
#include "least.h"

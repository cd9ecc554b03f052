/* Has no name. */
#define NAME ""
#include "least.h"

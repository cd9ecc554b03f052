/* Has no more than a module must have. */
#include "least.h"

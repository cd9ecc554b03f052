/* The Prometheus text exposition format, version 0.0.4. */
#ifndef MSOCKCTL_PROMETHEUS_H
#define MSOCKCTL_PROMETHEUS_H

#include "snapshot.h"

void prometheus_print(const struct snapshot *snapshot);

#endif

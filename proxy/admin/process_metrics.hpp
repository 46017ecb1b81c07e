// What the kernel counts of this process, by the names that every Prometheus client uses.
#pragma once

#include "proxy/observe/prometheus_text.hpp"

namespace kubelane::admin {

void write_process_metrics(observe::PrometheusText& text);

}  // namespace kubelane::admin

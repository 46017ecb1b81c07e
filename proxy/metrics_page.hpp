// The page that Prometheus scrapes. Every label has a bounded number of values: services and
// clusters of the configuration's selection, and fixed words.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proxy/admin/health.hpp"
#include "proxy/control_view.hpp"
#include "proxy/observe/meters.hpp"

namespace kubelane {

struct MetricsInput {
  const ControlView& view;
  const std::vector<observe::WorkerReport>& reports;
  const admin::Health& health;
  std::optional<std::chrono::seconds> clock_ahead;
  std::uint64_t probes_answered = 0;
  std::uint64_t probes_failed = 0;
};

std::string metrics_page(const MetricsInput& input);

}  // namespace kubelane

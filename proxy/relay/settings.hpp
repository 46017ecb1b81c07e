// What of the configuration the data path needs. Each worker has its own, and changes it in place
// when the operator does: whoever refers to a value sees the newest.
#pragma once

#include "config/config.hpp"

namespace kubelane::relay {

struct Settings {
  explicit Settings(const Config& config)
      : limits(config.limits),
        timeouts(config.timeouts),
        proxy_protocol(config.proxy_protocol),
        workers(config.workers) {}

  Limits limits;
  Timeouts timeouts;
  ProxyProtocol proxy_protocol;
  unsigned workers;
};

}  // namespace kubelane::relay

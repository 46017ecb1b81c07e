// One HTTP/1.1 request to a kubelane that runs, by its diagnostics or admin listener.
#pragma once

#include <chrono>
#include <string>

#include "config/config.hpp"
#include "config/result.hpp"

namespace kubelane::cli {

struct CallAnswer {
  int status = 0;
  std::string body;
};

// Blocks until the answer is there, at most until `deadline`. Failures: `refused` when nobody can
// be connected to, `timeout` when the answer did not come in time, `io` when it is not HTTP, ends
// early or is larger than 64 MiB.
Outcome<CallAnswer> call(const ControlAddress& address, const std::string& method,
                         const std::string& target, std::chrono::steady_clock::time_point deadline);

// Waits; the next try of whoever polls.
void pause(std::chrono::milliseconds duration);

// As a path segment.
std::string percent_encoded(const std::string& text);

}  // namespace kubelane::cli

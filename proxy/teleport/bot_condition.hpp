// How the bot is, for readiness and metrics.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "proxy/observe/latency_histogram.hpp"
#include "proxy/teleport/auth_error.hpp"

namespace kubelane::teleport {

struct BotCondition {
  bool failing = false;  // the latest round failed; `problem` and `kind` say why
  bool stopped = false;  // it waits for somebody to act, and a signal
  AuthError::Kind kind = AuthError::Kind::other;
  std::string problem;                                             // with the remedy; empty: none
  std::optional<std::chrono::system_clock::time_point> not_after;  // of its own identity
  std::string user;                                                // the same
  std::string serial;                                              // the same
  std::uint64_t renewed = 0;             // certificates, its own and others
  std::uint64_t failed = 0;              // rounds
  observe::LatencyHistogram round_time;  // of rounds that renewed something
};

}  // namespace kubelane::teleport

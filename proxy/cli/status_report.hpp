// What `status` shows: the pages /readyz and /metrics of a kubelane that runs, as one.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "config/result.hpp"

namespace kubelane::cli {

struct ClusterStatus {
  std::string name;
  std::string status;  // healthy, unhealthy, initializing
  std::string cause;   // one word; empty: none
  std::string reason;
  std::optional<std::chrono::system_clock::time_point> certificate_end;
  std::uint64_t requests = 0;  // that have ended
};

struct ServiceStatus {
  std::string name;
  std::string status;
  std::string cause;
  std::string reason;
  std::vector<ClusterStatus> clusters;
};

struct StatusReport {
  std::string status;
  std::vector<ServiceStatus> services;
};

// `metrics` may be empty: no certificates and no requests then. Failure: not kubelane's pages.
Outcome<StatusReport> read_status(const std::string& readyz, const std::string& metrics);

// For a terminal, with columns; ends with a newline.
std::string status_table(const StatusReport& report, std::chrono::system_clock::time_point now);
std::string status_json(const StatusReport& report);

// What comes from elsewhere must not control a terminal: control bytes become "?", and spaces at
// the end go.
std::string printable(const std::string& text);

}  // namespace kubelane::cli

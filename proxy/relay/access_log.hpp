// One line per request at debug level: verb, resource, namespace, status, times. Costs nothing when
// debug is off. Never the query, which can hold what users typed; only what Kubernetes names.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "proxy/runtime/deadline.hpp"

namespace kubelane::relay {

// What a Kubernetes path means (Kubernetes API conventions): /api/v1/namespaces/x/pods/y/log.
struct ResourceRef {
  std::string resource;  // "pods", "pods/log", or the path of a non-resource request
  std::string name_space;
  std::string name;
  bool is_resource = false;
};
ResourceRef parse_resource(std::string_view path);

// True for requests that stream until somebody ends them: watch, and logs with follow.
bool is_watch(std::string_view path, std::string_view query);

class AccessLog {
 public:
  // Copies what it needs, only when debug logging is on.
  void begin(std::string_view method, std::string_view path, std::string_view query,
             runtime::Clock::time_point now, std::string_view protocol);
  void first_byte(runtime::Clock::time_point now) { first_byte_ = now; }
  void end(std::string_view cluster, int status, std::uint64_t request_bytes,
           std::uint64_t response_bytes, bool reused, std::string_view failure,
           runtime::Clock::time_point now) const;

 private:
  bool active_ = false;
  std::string_view protocol_;  // a literal
  std::string verb_;
  ResourceRef resource_;
  runtime::Clock::time_point begin_{};
  runtime::Clock::time_point first_byte_{};
};

}  // namespace kubelane::relay

// A point in time as operators and Teleport's web API read it.
#pragma once

#include <chrono>
#include <string>

namespace kubelane {

// RFC 3339 in UTC, whole seconds: "2026-01-02T03:04:05Z".
std::string utc(std::chrono::system_clock::time_point at);

}  // namespace kubelane

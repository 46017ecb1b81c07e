// Requests of the standard paths that are compared with and without kubelane between: sizes around
// every buffer and frame, chunks, trailers, statuses.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace support {

// Method and target.
inline std::vector<std::pair<std::string, std::string>> comparable_exchanges() {
  std::vector<std::pair<std::string, std::string>> targets;
  for (const int size : {0, 1, 2, 100, 1023, 1024, 4095, 4096, 16383, 16384, 16385, 65535, 65536,
                         65537, 200'000, 300'000}) {
    const std::string n = std::to_string(size);
    for (const char* method : {"GET", "HEAD"}) targets.emplace_back(method, "/bytes/" + n);
    for (const char* chunk : {"1", "7", "1000", "16384", "70000"}) {
      if (size > 20'000 && std::string(chunk).size() == 1) continue;
      targets.emplace_back("GET", "/chunked/" + n + "?chunk=" + chunk);
    }
    targets.emplace_back("GET", "/trailers/" + n);
    targets.emplace_back("GET", "/until-close/" + n);
  }
  for (const int status : {200, 201, 202, 204, 301, 304, 400, 401, 403, 404, 405,
                           409, 410, 412, 415, 422, 429, 500, 501, 502, 503, 504}) {
    for (const char* method : {"GET", "POST", "DELETE"})
      targets.emplace_back(method, "/status/" + std::to_string(status));
  }
  targets.emplace_back("GET", "/hints");
  return targets;
}

}  // namespace support

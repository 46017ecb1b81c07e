// The logs of the API's pods.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/lab/http.hpp"
#include "tests/lab/kube_api_activity.hpp"

namespace lab {

struct LogRequest {
  std::string name_space;
  std::string pod;
  bool follow = false;
  bool timestamps = false;
  std::optional<std::uint64_t> tail;
};

// Thread-safe. A log that nobody wrote to has three lines.
class PodLogs {
 public:
  // `interval`: between the lines that a followed pod writes; 0: none.
  explicit PodLogs(std::chrono::milliseconds interval) : interval_(interval) {}

  void append(const std::string& name_space, const std::string& pod, std::string line);
  void forget(const std::string& name_space, const std::string& pod);
  // Answers the request. Returns whether the connection can serve another one.
  bool serve(Stream& stream, Activities& activities, const LogRequest& request);
  void wake();

 private:
  struct Line {
    std::string time;
    std::string text;
  };
  using Key = std::pair<std::string, std::string>;
  std::vector<Line>& lines_of(const Key& key);  // under the lock
  // One chunk of the lines from `from` on, which becomes the index of the next one.
  std::string take(const Key& key, std::size_t& from, bool timestamps);

  std::chrono::milliseconds interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, std::vector<Line>> logs_;
};

}  // namespace lab

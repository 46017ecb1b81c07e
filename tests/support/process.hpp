// A child process under test: its lines of standard error and output, signals, exit, resources.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <sys/types.h>

#include "tests/support/eventually.hpp"

namespace support {

class Process {
 public:
  // `program` is a path. `environment` is added to ours. Throws std::runtime_error.
  Process(const std::string& program, const std::vector<std::string>& arguments,
          const std::map<std::string, std::string>& environment = {});
  ~Process();  // SIGKILL if it still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  bool running();
  // Exit status, or minus the signal that ended it; nothing when it still runs at the end.
  std::optional<int> wait_exit(std::chrono::milliseconds limit = patience());

  // Complete lines so far, without their newline.
  std::vector<std::string> error_lines() const;
  std::string output() const;  // standard output so far
  // The first line of standard error, from index `from` on, that contains the text.
  std::optional<std::string> wait_for_line(const std::string& text, std::size_t from = 0,
                                           std::chrono::milliseconds limit = patience()) const;

  // VmRSS; says nothing about kubelane itself under a sanitizer, which keeps what is freed.
  std::size_t resident_bytes() const;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  static constexpr bool sanitized = true;
#else
  static constexpr bool sanitized = false;
#endif
  std::size_t open_descriptors() const;
  std::size_t threads() const;

 private:
  void read_streams(int error_fd, int output_fd);
  std::size_t status_number(const std::string& key) const;

  pid_t pid_ = -1;
  std::optional<int> exit_;
  std::thread reader_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::string partial_;
  std::string output_;
  bool streams_ended_ = false;
};

}  // namespace support

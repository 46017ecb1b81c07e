// A local process behind pipes or a terminal, as the inside of a "container".
#pragma once

#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "tests/lab/tls_stream.hpp"

namespace lab {

struct TerminalSize {
  unsigned short rows = 24;
  unsigned short columns = 80;
};

// Owns the process: a session of its own, killed and reaped by the destructor.
class Process {
 public:
  struct Options {
    std::vector<std::string> command;  // found in PATH
    std::filesystem::path directory;   // working directory and HOME
    bool with_input = false;
    bool terminal = false;
    TerminalSize size;
  };
  // Throws std::system_error when it cannot be started.
  explicit Process(const Options& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Blocks for at least one byte; 0 at the end. One thread for each of the two.
  std::size_t read_output(char* into, std::size_t bytes);
  std::size_t read_error(char* into, std::size_t bytes);  // 0 at once for a terminal
  // Until all is written, the process reads no more, or `give_up` says true while it has to wait.
  void write_input(std::string_view bytes, const std::function<bool()>& give_up);
  void close_input();

  // For any thread.
  void resize(TerminalSize size);
  void kill();  // the whole session
  // Blocks for the end; the exit code, or 128 and the signal's number.
  int wait();

 private:
  std::mutex mutex_;  // reaped_, so that a signal never goes to another process
  bool reaped_ = false;
  int code_ = 0;
  pid_t pid_ = -1;
  bool terminal_ = false;
  Socket input_;
  Socket output_;
  Socket error_;
};

}  // namespace lab

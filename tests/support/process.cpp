#include "tests/support/process.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace support {
namespace {

struct Pipe {
  int ends[2];
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  }
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

Process::Process(const std::string& program, const std::vector<std::string>& arguments,
                 const std::map<std::string, std::string>& environment) {
  std::vector<std::string> words{program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string entry = *each;
    if (!environment.contains(entry.substr(0, entry.find('=')))) variables.push_back(entry);
  }
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);

  const Pipe error;
  const Pipe output;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output.ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, error.ends[1], STDERR_FILENO);
  auto argument_pointers = pointers(words);
  auto variable_pointers = pointers(variables);
  const int failed = posix_spawn(&pid_, program.c_str(), &actions, nullptr,
                                 argument_pointers.data(), variable_pointers.data());
  posix_spawn_file_actions_destroy(&actions);
  close(error.ends[1]);
  close(output.ends[1]);
  if (failed != 0) {
    close(error.ends[0]);
    close(output.ends[0]);
    throw std::runtime_error("cannot start " + program);
  }
  reader_ = std::thread([this, from = error.ends[0], out = output.ends[0]] {
    read_streams(from, out);
    close(from);
    close(out);
  });
}

Process::~Process() {
  if (running()) {
    kill(pid_, SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
  }
  reader_.join();
}

void Process::read_streams(int error_fd, int output_fd) {
  pollfd from[2] = {{error_fd, POLLIN, 0}, {output_fd, POLLIN, 0}};
  char block[8192];
  while (from[0].fd >= 0 || from[1].fd >= 0) {
    poll(from, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (from[i].fd < 0 || from[i].revents == 0) continue;
      const ssize_t got = read(from[i].fd, block, sizeof block);
      if (got <= 0) {
        from[i].fd = -1;
        continue;
      }
      const std::scoped_lock lock(mutex_);
      if (i == 1) {
        output_.append(block, static_cast<std::size_t>(got));
        continue;
      }
      partial_.append(block, static_cast<std::size_t>(got));
      std::size_t start = 0;
      for (std::size_t end = partial_.find('\n'); end != std::string::npos;
           end = partial_.find('\n', start)) {
        lines_.push_back(partial_.substr(start, end - start));
        start = end + 1;
      }
      partial_.erase(0, start);
    }
    changed_.notify_all();
  }
  const std::scoped_lock lock(mutex_);
  streams_ended_ = true;
  changed_.notify_all();
}

void Process::signal(int number) const {
  // A reaped child's number may belong to somebody else by now.
  if (!exit_) kill(pid_, number);
}

bool Process::running() {
  if (exit_) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return true;
  exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return false;
}

std::optional<int> Process::wait_exit(std::chrono::milliseconds limit) {
  eventually([this] { return !running(); }, limit);
  if (exit_) {
    // What it said last has been written by now; let the reader take it in.
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, limit, [this] { return streams_ended_; });
  }
  return exit_;
}

std::vector<std::string> Process::error_lines() const {
  const std::scoped_lock lock(mutex_);
  return lines_;
}

std::string Process::output() const {
  const std::scoped_lock lock(mutex_);
  return output_;
}

std::optional<std::string> Process::wait_for_line(const std::string& text, std::size_t from,
                                                  std::chrono::milliseconds limit) const {
  std::optional<std::string> found;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, limit, [&] {
    for (; from < lines_.size() && !found; ++from) {
      if (lines_[from].find(text) != std::string::npos) found = lines_[from];
    }
    return found || streams_ended_;
  });
  return found;
}

std::size_t Process::status_number(const std::string& key) const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoul(line.substr(key.size() + 1));
  }
  return 0;
}

std::size_t Process::resident_bytes() const { return status_number("VmRSS") * 1024; }
std::size_t Process::threads() const { return status_number("Threads"); }

std::size_t Process::open_descriptors() const {
  const std::filesystem::directory_iterator all("/proc/" + std::to_string(pid_) + "/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace support

#include "tests/lab/exec_process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace lab {
namespace {

constexpr int kGiveUpCheck = 50;  // milliseconds

void check(int error, const char* what) {
  if (error != 0) throw std::system_error(error, std::generic_category(), what);
}

struct Pipe {
  Socket reader;
  Socket writer;
};

Pipe make_pipe() {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) check(errno, "pipe");
  return {Socket(ends[0]), Socket(ends[1])};
}

// A terminal's own side; its other side's name goes to `other`.
Socket open_terminal(std::string& other, TerminalSize size) {
  Socket master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  std::array<char, 128> name;
  if (!master || grantpt(master.fd()) != 0 || unlockpt(master.fd()) != 0) check(errno, "terminal");
  check(ptsname_r(master.fd(), name.data(), name.size()), "terminal");
  other = name.data();
  const winsize window{size.rows, size.columns, 0, 0};
  ioctl(master.fd(), TIOCSWINSZ, &window);
  return master;
}

Socket duplicate(const Socket& socket) { return Socket(fcntl(socket.fd(), F_DUPFD_CLOEXEC, 0)); }

struct Spawn {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;

  Spawn() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(
        &attributes,
        static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  }
  ~Spawn() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;

  pid_t run(const Process::Options& options) {
    posix_spawn_file_actions_addchdir_np(&actions, options.directory.c_str());
    std::vector<char*> arguments;
    for (const auto& text : options.command) arguments.push_back(const_cast<char*>(text.c_str()));
    arguments.push_back(nullptr);
    std::vector<std::string> variables{"HOME=" + options.directory.string(), "TERM=xterm",
                                       "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"};
    std::vector<char*> environment;
    for (auto& text : variables) environment.push_back(text.data());
    environment.push_back(nullptr);
    pid_t pid = -1;
    check(posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(),
                       environment.data()),
          options.command.front().c_str());
    return pid;
  }
};

std::size_t read_some(const Socket& from, char* into, std::size_t bytes) {
  for (;;) {
    const ssize_t got = read(from.fd(), into, bytes);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return 0;  // EIO: the last process has left the terminal
  }
}

}  // namespace

Process::Process(const Options& options) : terminal_(options.terminal) {
  if (options.command.empty()) check(EINVAL, "no command");
  Spawn spawn;
  if (terminal_) {
    std::string other;
    output_ = open_terminal(other, options.size);
    input_ = duplicate(output_);
    // Opened by the leader of a session, it becomes that session's terminal.
    posix_spawn_file_actions_addopen(&spawn.actions, 0, other.c_str(), O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&spawn.actions, 0, 1);
    posix_spawn_file_actions_adddup2(&spawn.actions, 0, 2);
    pid_ = spawn.run(options);
  } else {
    Pipe input = make_pipe();
    Pipe output = make_pipe();
    Pipe error = make_pipe();
    if (options.with_input) {
      posix_spawn_file_actions_adddup2(&spawn.actions, input.reader.fd(), 0);
    } else {
      posix_spawn_file_actions_addopen(&spawn.actions, 0, "/dev/null", O_RDONLY, 0);
    }
    posix_spawn_file_actions_adddup2(&spawn.actions, output.writer.fd(), 1);
    posix_spawn_file_actions_adddup2(&spawn.actions, error.writer.fd(), 2);
    pid_ = spawn.run(options);
    input_ = std::move(input.writer);
    output_ = std::move(output.reader);
    error_ = std::move(error.reader);
    fcntl(input_.fd(), F_SETFL, O_NONBLOCK);
  }
}

Process::~Process() {
  kill();
  wait();
}

std::size_t Process::read_output(char* into, std::size_t bytes) {
  return read_some(output_, into, bytes);
}

std::size_t Process::read_error(char* into, std::size_t bytes) {
  return terminal_ ? 0 : read_some(error_, into, bytes);
}

void Process::write_input(std::string_view bytes, const std::function<bool()>& give_up) {
  while (!bytes.empty() && input_) {
    pollfd ready{input_.fd(), POLLOUT, 0};
    if (poll(&ready, 1, kGiveUpCheck) <= 0) {
      if (give_up()) return;
      continue;
    }
    // A terminal that is writable takes at least this much without blocking for long.
    const ssize_t written =
        write(input_.fd(), bytes.data(),
              terminal_ ? std::min<std::size_t>(bytes.size(), 256) : bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EAGAIN && errno != EINTR) {
      return;
    }
  }
}

void Process::close_input() { input_ = Socket(); }

void Process::resize(TerminalSize size) {
  if (!terminal_) return;
  const winsize window{size.rows, size.columns, 0, 0};
  ioctl(output_.fd(), TIOCSWINSZ, &window);
}

void Process::kill() {
  const std::scoped_lock lock(mutex_);
  if (!reaped_) ::kill(-pid_, SIGKILL);
}

int Process::wait() {
  siginfo_t ended{};
  {
    const std::scoped_lock lock(mutex_);
    if (reaped_) return code_;
  }
  // First without reaping: until the lock is held the number must stay this process's own.
  while (waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  const std::scoped_lock lock(mutex_);
  if (reaped_) return code_;
  int status = 0;
  ::kill(-pid_, SIGKILL);  // what it may have left behind
  waitpid(pid_, &status, 0);
  reaped_ = true;
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return code_;
}

}  // namespace lab

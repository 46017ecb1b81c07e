#include "proxy/cli/run_beside.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/exit_codes.hpp"
#include "config/suggest.hpp"
#include "proxy/cli/commands.hpp"
#include "tls/socket.hpp"

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace kubelane::cli {
namespace {

using std::chrono::steady_clock;
using TimePoint = std::optional<steady_clock::time_point>;  // nothing: never

// Not those that stop a process: a shell's job control works by their default.
constexpr int passed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

bool asks_to_end(int signal) {
  return signal == SIGHUP || signal == SIGINT || signal == SIGQUIT || signal == SIGTERM;
}

// As shells tell it.
int code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : exit_code::by_signal + WTERMSIG(status);
}

std::vector<std::string> environment_of(const RunPlan& plan) {
  std::vector<std::string> variables;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string variable = *each;
    const std::string name = variable.substr(0, variable.find('='));
    if (name != "KUBECONFIG" &&
        std::find(plan.secrets.begin(), plan.secrets.end(), name) == plan.secrets.end())
      variables.push_back(variable);
  }
  variables.push_back("KUBECONFIG=" + plan.kubeconfig);
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

class Supervisor {
 public:
  Supervisor(const RunPlan& plan, const Serve& serve) : plan_(plan), serve_(serve) {}

  int run() {
    // The command must not read our environment or memory, in which join tokens stand.
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    take_signals();
    start_proxy();
    int code = await_ready();
    if (code == 0) code = start_command();
    if (code == 0) code = await_command();
    stop(proxy_, plan_.to_stop);
    return code;
  }

 private:
  void take_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : passed_on) ::sigaddset(&set, signal);
    ::sigaddset(&set, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &set, &inherited_mask_);
    signals_ = tls::UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) throw std::system_error(errno, std::generic_category(), "signalfd");
  }

  void start_proxy() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
      throw std::system_error(errno, std::generic_category(), "pipe");
    ready_ = tls::UniqueFd(ends[0]);
    tls::UniqueFd tell(ends[1]);
    const pid_t parent = ::getpid();
    proxy_ = ::fork();
    if (proxy_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (proxy_ > 0) return;
    ::setsid();
    ::prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (::getppid() != parent) std::_Exit(exit_code::failure);  // it has ended before that
    signals_.reset();
    ready_.reset();
    ::sigprocmask(SIG_SETMASK, &inherited_mask_, nullptr);
    // The service that they are about is the command.
    for (const char* variable : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
      ::unsetenv(variable);
    int code = exit_code::failure;
    try {
      code = serve_([&tell] {
        const ssize_t told = ::write(tell.get(), "r", 1);
        (void)told;  // a supervisor that is gone needs no news
        tell.reset();
      });
    } catch (const std::exception& failure) {
      std::cerr << "kubelane: " << failure.what() << '\n';
    }
    std::cout.flush();
    std::_Exit(code);
  }

  // 0 when the proxy is ready.
  int await_ready() {
    const TimePoint deadline = steady_clock::now() + plan_.until_ready;
    for (;;) {
      if (!wait(deadline, true)) {
        complain("run", "kubelane did not get ready in time (--wait-timeout); its log says why");
        return exit_code::run_failed;
      }
      if (told_ready_) return 0;
      if (!proxy_runs()) {
        complain("run", "kubelane ended before it was ready; its log says why");
        return exit_code::run_failed;
      }
      for (const signalfd_siginfo& signal : take_pending())
        if (asks_to_end(static_cast<int>(signal.ssi_signo)))
          return exit_code::by_signal + static_cast<int>(signal.ssi_signo);
    }
  }

  int start_command() {
    std::vector<std::string> words = plan_.words;
    std::vector<std::string> variables = environment_of(plan_);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    ::posix_spawnattr_setsigmask(&attributes, &inherited_mask_);
    const int error = ::posix_spawnp(&command_, words.front().c_str(), nullptr, &attributes,
                                     pointers(words).data(), pointers(variables).data());
    ::posix_spawnattr_destroy(&attributes);
    if (error == 0) return 0;
    command_ = -1;
    complain("run", "cannot start " + quote(words.front()) + ": " +
                        std::generic_category().message(error));
    return error == ENOENT ? exit_code::not_found : exit_code::cannot_execute;
  }

  int await_command() {
    while (!command_status_ && proxy_runs()) {
      wait({}, false);
      for (const signalfd_siginfo& signal : take_pending()) pass_on(signal, command_);
    }
    if (command_status_) return code_of(*command_status_);
    complain("run", "kubelane has ended (code " + std::to_string(code_of(*proxy_status_)) +
                        "): stopping the command");
    stop(command_, plan_.to_stop);
    return exit_code::run_failed;
  }

  // What the kernel sends on behalf of a terminal, the command has got, too: it is in our group.
  static void pass_on(const signalfd_siginfo& signal, pid_t to) {
    if (signal.ssi_code != SI_KERNEL) ::kill(to, static_cast<int>(signal.ssi_signo));
  }

  // SIGTERM, and SIGKILL at the end of its time. A signal that comes meanwhile goes there, too: the
  // second one stops the proxy at once.
  void stop(pid_t child, std::chrono::milliseconds time) {
    std::optional<int>& status = child == proxy_ ? proxy_status_ : command_status_;
    if (status) return;
    ::kill(child, SIGTERM);
    TimePoint deadline = steady_clock::now() + time;
    while (!status) {
      if (!wait(deadline, false)) {
        ::kill(child, SIGKILL);
        deadline.reset();
      }
      for (const signalfd_siginfo& signal : take_pending())
        if (asks_to_end(static_cast<int>(signal.ssi_signo)))
          ::kill(child, static_cast<int>(signal.ssi_signo));
    }
  }

  // Until something happens; false: the deadline. Collects children and signals.
  bool wait(const TimePoint& deadline, bool for_ready) {
    int limit = -1;
    if (deadline) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(*deadline - steady_clock::now());
      if (left.count() <= 0) return false;
      limit = static_cast<int>(std::min<std::int64_t>(left.count(), 60'000));
    }
    pollfd from[2] = {{signals_.get(), POLLIN, 0}, {ready_.get(), POLLIN, 0}};
    if (::poll(from, for_ready ? 2 : 1, limit) <= 0) return true;  // whoever asks looks again
    if (for_ready && (from[1].revents & POLLIN) != 0) told_ready_ = true;
    signalfd_siginfo signal;
    while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal)
      if (signal.ssi_signo != SIGCHLD) pending_.push_back(signal);
    reap();
    return true;
  }

  std::vector<signalfd_siginfo> take_pending() { return std::exchange(pending_, {}); }

  // All that have ended: as PID 1 also those of the command that it left behind.
  void reap() {
    int status = 0;
    for (pid_t ended = ::waitpid(-1, &status, WNOHANG); ended > 0;
         ended = ::waitpid(-1, &status, WNOHANG)) {
      if (ended == proxy_) proxy_status_ = status;
      if (ended == command_) command_status_ = status;
    }
  }

  bool proxy_runs() const { return !proxy_status_; }

  const RunPlan& plan_;
  const Serve& serve_;
  sigset_t inherited_mask_{};
  tls::UniqueFd signals_;
  tls::UniqueFd ready_;
  pid_t proxy_ = -1;
  pid_t command_ = -1;
  std::optional<int> proxy_status_;
  std::optional<int> command_status_;
  std::vector<signalfd_siginfo> pending_;
  bool told_ready_ = false;
};

}  // namespace

int run_beside(const RunPlan& plan, const Serve& serve) { return Supervisor(plan, serve).run(); }

}  // namespace kubelane::cli

#include "proxy/host/exit_triggers.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <boost/asio/post.hpp>
#include <sys/syscall.h>
#include <unistd.h>

namespace kubelane::host {
namespace {

using std::chrono::milliseconds;

// A look costs a system call; inotify would not see all kinds of volumes.
constexpr milliseconds file_interval{250};
constexpr milliseconds longest_idle_interval{1000};
constexpr milliseconds shortest_idle_interval{10};

}  // namespace

ExitTriggers::ExitTriggers(boost::asio::io_context& io, const ExitRules& rules,
                           std::function<Activity()> activity,
                           std::function<void(std::string)> triggered)
    : rules_(rules),
      activity_(std::move(activity)),
      triggered_(std::move(triggered)),
      file_timer_(io),
      idle_timer_(io),
      process_(io) {}

Outcome<void> ExitTriggers::start() {
  if (rules_.with_pid != 0)
    if (Outcome<void> watched = watch_process(); !watched) return watched;
  if (!rules_.when_file.empty()) look_for_file();
  if (rules_.when_idle.count() == 0) return {};
  idle_since_ = Clock::now();
  look_for_requests();
  return {};
}

void ExitTriggers::trigger(std::string why) {
  if (std::exchange(done_, true)) return;
  triggered_(std::move(why));
}

void ExitTriggers::look_for_file() {
  file_timer_.expires_after(file_interval);
  file_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    if (::access(rules_.when_file.c_str(), F_OK) == 0)
      return trigger("the file " + rules_.when_file + " is there");
    look_for_file();
  });
}

void ExitTriggers::look_for_requests() {
  idle_timer_.expires_after(
      std::clamp(rules_.when_idle / 4, shortest_idle_interval, longest_idle_interval));
  idle_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    const Activity now = activity_();
    if (now.running > 0 || std::exchange(begun_, now.begun) != now.begun)
      idle_since_ = Clock::now();
    if (Clock::now() - idle_since_ >= rules_.when_idle)
      return trigger("there was no request for " + std::to_string(rules_.when_idle.count()) +
                     " ms");
    look_for_requests();
  });
}

Outcome<void> ExitTriggers::watch_process() {
  const std::string process = "process " + std::to_string(rules_.with_pid);
  const auto fd = static_cast<int>(::syscall(SYS_pidfd_open, rules_.with_pid, 0));
  if (fd < 0 && errno != ESRCH)
    return Failure{Code::io, "cannot watch " + process +
                                 " (exit.with_pid): " + std::generic_category().message(errno) +
                                 "; that needs Linux 5.3 and a number of this PID namespace"};
  if (fd < 0) {
    // It may have been quick.
    boost::asio::post(process_.get_executor(), [this, process] { trigger(process + " is gone"); });
    return {};
  }
  process_.assign(fd);
  process_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [this, process](boost::system::error_code error) {
                        if (!error) trigger(process + " has ended");
                      });
  return {};
}

}  // namespace kubelane::host

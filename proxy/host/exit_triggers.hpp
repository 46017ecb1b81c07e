// What ends the process beside a signal, for Jobs on clusters without native sidecars: a file that
// appears, a time without requests, the end of another process.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/config.hpp"
#include "config/result.hpp"

namespace kubelane::host {

// Thread: control. Must live as long as the io_context runs.
class ExitTriggers {
 public:
  // Of all requests so far: how many were begun, and how many are not over. Watches and tunnels are
  // requests, idle connections are none.
  struct Activity {
    std::uint64_t begun = 0;
    std::uint64_t running = 0;
  };

  // `triggered` is called once, with a sentence for the log.
  ExitTriggers(boost::asio::io_context& io, const ExitRules& rules,
               std::function<Activity()> activity, std::function<void(std::string)> triggered);
  ExitTriggers(const ExitTriggers&) = delete;
  ExitTriggers& operator=(const ExitTriggers&) = delete;

  // Failure: the process cannot be watched.
  Outcome<void> start();

 private:
  using Clock = std::chrono::steady_clock;

  void look_for_file();
  void look_for_requests();
  Outcome<void> watch_process();
  void trigger(std::string why);

  const ExitRules rules_;
  const std::function<Activity()> activity_;
  const std::function<void(std::string)> triggered_;
  boost::asio::steady_timer file_timer_;
  boost::asio::steady_timer idle_timer_;
  boost::asio::posix::stream_descriptor process_;
  Clock::time_point idle_since_{};
  std::uint64_t begun_ = 0;
  bool done_ = false;
};

}  // namespace kubelane::host

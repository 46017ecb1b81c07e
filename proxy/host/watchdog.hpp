// Tells the service manager that we are well only while every event loop turns: one that is stuck
// keeps silent for all.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace kubelane::host {

// Thread: control, whose own loop is watched by this running at all. Must live as long as the
// io_context runs.
class Watchdog {
 public:
  // Asks a loop to call `then` on its own thread; must only post.
  using Ask = std::function<void(std::function<void()> then)>;

  Watchdog(boost::asio::io_context& io, std::chrono::microseconds interval, std::vector<Ask> loops,
           std::function<void()> alive);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void start() { look(); }

 private:
  void look();
  void ask();

  boost::asio::io_context& io_;
  const std::chrono::microseconds interval_;
  const std::vector<Ask> loops_;
  const std::function<void()> alive_;
  boost::asio::steady_timer timer_;
  std::size_t unanswered_ = 0;  // of the round that runs
};

}  // namespace kubelane::host

// What the Teleport Proxy says about itself, asked for all services together and asked again: every
// five minutes, soon after a failure, and when connections fail. Never gives up.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/teleport/ping.hpp"

namespace kubelane::teleport {

// Thread: control.
class Discovery {
 public:
  Discovery(boost::asio::io_context& io, PingOptions options);
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // Called after each ping, successful or not, until it is forgotten by the number given here.
  std::size_t on_change(std::function<void()> listener);
  void forget(std::size_t listener) { listeners_.erase(listener); }
  // Without an address it waits for one.
  void start();
  void set_address(const HostPort& address);
  // Ask again now, at most once per 5 s.
  void refresh();

  const HostPort& address() const noexcept { return options_.address; }
  // The newest good reply, however old.
  const std::optional<PingReply>& reply() const noexcept { return reply_; }
  // Why the last ping failed; empty when it did not.
  const std::string& problem() const noexcept { return problem_; }

 private:
  void ask();
  void finished(Outcome<PingReply> outcome);
  void ask_after(std::chrono::milliseconds delay);

  boost::asio::io_context& io_;
  PingOptions options_;
  boost::asio::steady_timer timer_;
  std::map<std::size_t, std::function<void()>> listeners_;
  std::size_t next_listener_ = 1;
  std::optional<PingReply> reply_;
  std::string problem_;
  std::chrono::milliseconds back_off_;
  std::chrono::steady_clock::time_point asked_{};
  std::minstd_rand random_{std::random_device{}()};
  bool asking_ = false;
  bool started_ = false;
};

}  // namespace kubelane::teleport

#include "proxy/host/watchdog.hpp"

#include <utility>

#include <boost/asio/post.hpp>

namespace kubelane::host {

Watchdog::Watchdog(boost::asio::io_context& io, std::chrono::microseconds interval,
                   std::vector<Ask> loops, std::function<void()> alive)
    : io_(io),
      interval_(interval),
      loops_(std::move(loops)),
      alive_(std::move(alive)),
      timer_(io) {}

void Watchdog::look() {
  if (unanswered_ == 0) ask();  // else one is stuck
  timer_.expires_after(interval_);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) look();
  });
}

void Watchdog::ask() {
  unanswered_ = loops_.size();
  for (const Ask& loop : loops_) {
    loop([this] {
      boost::asio::post(io_, [this] {
        if (--unanswered_ == 0) alive_();
      });
    });
  }
}

}  // namespace kubelane::host

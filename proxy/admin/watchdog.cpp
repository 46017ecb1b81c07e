#include "proxy/admin/watchdog.hpp"

#include <chrono>

#include <boost/asio/post.hpp>

namespace kubelane::admin {
namespace {

constexpr std::chrono::seconds interval{1};
constexpr unsigned patience = 10;  // intervals

}  // namespace

Watchdog::Watchdog(boost::asio::io_context& io, std::vector<Beat> loops)
    : io_(io), timer_(io), loops_(std::make_shared<std::vector<Loop>>()) {
  for (Beat& each : loops) loops_->push_back({std::move(each)});
  beat();
}

Watchdog::~Watchdog() = default;

void Watchdog::beat() {
  for (std::size_t i = 0; i < loops_->size(); ++i) {
    Loop& loop = (*loops_)[i];
    if (loop.asked) {
      ++loop.missed;
      continue;
    }
    loop.asked = true;
    loop.beat([&io = io_, weak = std::weak_ptr(loops_), i] {
      boost::asio::post(io, [weak, i] {
        const auto loops_then = weak.lock();
        if (!loops_then) return;
        (*loops_then)[i].asked = false;
        (*loops_then)[i].missed = 0;
      });
    });
  }
  timer_.expires_after(interval);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) beat();
  });
}

std::string Watchdog::stuck() const {
  std::string which;
  for (std::size_t i = 0; i < loops_->size(); ++i)
    if ((*loops_)[i].missed >= patience) which += (which.empty() ? "" : ", ") + std::to_string(i);
  return which.empty() ? which : "the event loop of worker " + which + " does not come round";
}

}  // namespace kubelane::admin

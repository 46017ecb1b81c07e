#include "proxy/teleport/discovery.hpp"

#include <algorithm>

#include "proxy/observe/log.hpp"

namespace kubelane::teleport {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds interval{300'000};
constexpr milliseconds first_back_off{1'000};
constexpr milliseconds last_back_off{60'000};
constexpr milliseconds least_gap{5'000};

}  // namespace

Discovery::Discovery(boost::asio::io_context& io, PingOptions options)
    : io_(io), options_(std::move(options)), timer_(io), back_off_(first_back_off) {}

std::size_t Discovery::on_change(std::function<void()> listener) {
  listeners_[next_listener_] = std::move(listener);
  return next_listener_++;
}

void Discovery::start() {
  started_ = true;
  if (!options_.address.host.empty()) ask();
}

void Discovery::set_address(const HostPort& address) {
  options_.address = address;
  if (started_ && !asking_) ask();
}

void Discovery::refresh() {
  if (asking_ || options_.address.host.empty()) return;
  const auto since = steady_clock::now() - asked_;
  if (since >= least_gap) {
    ask();
  } else if (problem_.empty()) {
    ask_after(std::chrono::ceil<milliseconds>(least_gap - since));
  }
}

void Discovery::ask() {
  asking_ = true;
  asked_ = steady_clock::now();
  timer_.cancel();
  ping(io_, options_, [this](Outcome<PingReply> outcome) { finished(std::move(outcome)); });
}

void Discovery::finished(Outcome<PingReply> outcome) {
  asking_ = false;
  if (outcome) {
    if (!problem_.empty())
      log::info("the Teleport Proxy answers again",
                {{"proxy_server", to_string(options_.address, 0)}});
    reply_ = std::move(*outcome);
    problem_.clear();
    back_off_ = first_back_off;
    ask_after(interval);
  } else {
    if (outcome.error().message != problem_)
      log::warn(
          "cannot ask the Teleport Proxy for its settings; trying again",
          {{"proxy_server", to_string(options_.address, 0)}, {"cause", outcome.error().message}});
    problem_ = outcome.error().message;
    ask_after(back_off_);
    back_off_ = std::min(back_off_ * 2, last_back_off);
  }
  const auto listeners = listeners_;  // one may end another
  for (const auto& [number, listener] : listeners)
    if (listeners_.contains(number)) listener();
}

void Discovery::ask_after(milliseconds delay) {
  // Up to a tenth of jitter: many sidecars that start together do not ask together for ever.
  std::uniform_int_distribution<milliseconds::rep> jitter(0, delay.count() / 10);
  timer_.expires_after(delay + milliseconds(jitter(random_)));
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error && !asking_) ask();
  });
}

}  // namespace kubelane::teleport

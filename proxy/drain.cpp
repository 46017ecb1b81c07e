#include "proxy/drain.hpp"

#include <utility>

#include <boost/asio/post.hpp>

#include "proxy/observe/log.hpp"

namespace kubelane {
namespace {

constexpr std::chrono::seconds last_moments{1};  // after the deadline, for proper endings

}  // namespace

Drain::Drain(boost::asio::io_context& io,
             const std::vector<std::unique_ptr<relay::Worker>>& workers)
    : io_(io), workers_(workers), timer_(io) {}

void Drain::begin(const Times& times, std::function<void(bool complete)> done) {
  limit_ = times.limit;
  done_ = std::move(done);
  if (times.delay.count() == 0) return stop_accepting();
  timer_.expires_after(times.delay);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) stop_accepting();
  });
}

void Drain::stop_accepting() {
  // Only then: a connection must not come to a worker that is through with its drain.
  workers_.front()->stop_accepting([this] { boost::asio::post(io_, [this] { drain_workers(); }); });
  timer_.expires_after(limit_);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) end_the_rest();
  });
}

void Drain::drain_workers() {
  undrained_workers_ = workers_.size();
  for (const auto& worker : workers_) {
    worker->drain([this] {
      boost::asio::post(io_, [this] {
        if (--undrained_workers_ == 0) done_(!cut_);
      });
    });
  }
}

void Drain::end_the_rest() {
  log::warn("drain deadline passed: ending what still runs");
  cut_ = true;
  for (const auto& worker : workers_) worker->end_all();
  timer_.expires_after(last_moments);
  timer_.async_wait([this](boost::system::error_code cancelled) {
    if (cancelled) return;
    std::size_t open = 0;
    for (const auto& worker : workers_) open += worker->connections();
    if (open > 0) log::warn("cutting connections that did not end", {{"connections", open}});
    done_(false);
  });
}

}  // namespace kubelane

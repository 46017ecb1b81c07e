// The orderly end: serve on for a while, take nothing new, let finish what runs, end the rest.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/relay/worker.hpp"

namespace kubelane {

// Thread: control. `workers` must outlive it; the first of them accepts.
class Drain {
 public:
  Drain(boost::asio::io_context& io, const std::vector<std::unique_ptr<relay::Worker>>& workers);
  Drain(const Drain&) = delete;
  Drain& operator=(const Drain&) = delete;

  struct Times {
    std::chrono::milliseconds delay{0};  // everything as before
    std::chrono::milliseconds limit{0};  // after that, for what runs
  };
  // Once. `done` is told whether everything came to its end by itself.
  void begin(const Times& times, std::function<void(bool complete)> done);
  bool begun() const noexcept { return done_ != nullptr; }

 private:
  void stop_accepting();
  void drain_workers();
  void end_the_rest();

  boost::asio::io_context& io_;
  const std::vector<std::unique_ptr<relay::Worker>>& workers_;
  boost::asio::steady_timer timer_;
  std::chrono::milliseconds limit_{0};
  std::function<void(bool complete)> done_;
  std::size_t undrained_workers_ = 0;
  bool cut_ = false;
};

}  // namespace kubelane

// Notices an event loop that no longer comes round: each is sent a heartbeat in every interval and
// has to answer it. The loop that asks needs none: when it is stuck itself, whoever relies on it
// hears nothing, which counts as a failure, too.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace kubelane::runtime {

// Thread: that of `io`, which must outlive it. Begins when it is made.
class LoopWatch {
 public:
  // Asks a loop to call the given function, on its own thread, as soon as it comes round.
  using Beat = std::function<void(std::function<void()>)>;

  // `on_well`, where there is one: called once an interval, as soon as all loops have answered, and
  // so never while one is stuck.
  LoopWatch(boost::asio::io_context& io, std::chrono::microseconds interval,
            std::vector<Beat> loops, std::function<void()> on_well = {});
  LoopWatch(const LoopWatch&) = delete;
  LoopWatch& operator=(const LoopWatch&) = delete;

  // Which loops, by number, have not answered for that many intervals; empty: all are well.
  std::string stuck(unsigned intervals) const;

 private:
  struct Loop {
    Beat beat;
    // Beats of our own timer without an answer: a machine that slept beats not at all meanwhile.
    unsigned missed = 0;
    bool asked = false;
  };
  struct State {
    std::vector<Loop> loops;
    std::function<void()> on_well;
  };
  void beat();

  boost::asio::io_context& io_;
  const std::chrono::microseconds interval_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<State> state_;  // shared with answers that are under way
};

}  // namespace kubelane::runtime

// Notices an event loop of a worker that no longer comes round: each is sent a heartbeat every
// second and has to answer it. The control loop needs no heartbeat: it is the one that would answer
// the probe, so that a stuck one lets the probe time out, which counts as a failure, too.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace kubelane::admin {

// Thread: control.
class Watchdog {
 public:
  // Asks a loop to call the given function, from any thread, as soon as it comes round.
  using Beat = std::function<void(std::function<void()>)>;

  Watchdog(boost::asio::io_context& io, std::vector<Beat> loops);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Which loop has not answered for 10 s; empty: all are well.
  std::string stuck() const;

 private:
  struct Loop {
    Beat beat;
    // Beats of our own timer without an answer: a machine that slept beats not at all meanwhile.
    unsigned missed = 0;
    bool asked = false;
  };
  void beat();

  boost::asio::io_context& io_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<std::vector<Loop>> loops_;  // shared with answers that are under way
};

}  // namespace kubelane::admin

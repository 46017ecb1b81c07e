// The one suspension primitive of the data plane: wait until one of my sockets has news, somebody
// wakes me, or my deadline passes.
#pragma once

#include <coroutine>
#include <utility>

#include "proxy/runtime/deadline.hpp"
#include "proxy/runtime/event_loop.hpp"

namespace kubelane::runtime {

// Owned by a coroutine's frame; one waiter. Sockets point their Watch::sink here.
// Thread: its worker.
class Readiness final : public Runnable {
 public:
  explicit Readiness(EventLoop& loop) noexcept : loop_(loop), deadline_(*this) {}

  // Suspends until an event, a wake() or `deadline`. Returns false when the deadline passed. News
  // that came since the last wait are not lost: the caller tries its sockets before it waits, and
  // an edge after that queues this object.
  auto wait(Clock::time_point deadline) noexcept {
    expired_ = false;  // an earlier deadline may have passed while nobody waited
    loop_.deadlines().arm(deadline_, deadline);
    return Awaiter{*this};
  }
  // The same without a deadline, for waits that something else ends.
  auto wait() noexcept {
    expired_ = false;
    deadline_.clear();
    return Awaiter{*this};
  }

  // Same thread; runs the waiter in the next round, never inline.
  void wake() noexcept { loop_.queue(*this); }

  EventLoop& loop() noexcept { return loop_; }

 private:
  struct Awaiter {
    Readiness& self;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiter) noexcept { self.waiter_ = waiter; }
    bool await_resume() noexcept {
      const bool in_time = !self.expired_;
      self.expired_ = false;
      return in_time;
    }
  };
  struct Expiry final : Deadline {
    explicit Expiry(Readiness& readiness) noexcept : owner(readiness) {}
    void on_deadline() noexcept override {
      owner.expired_ = true;
      owner.wake();
    }
    Readiness& owner;
  };

  void run() noexcept override {
    if (waiter_) std::exchange(waiter_, nullptr).resume();
  }

  EventLoop& loop_;
  Expiry deadline_;
  std::coroutine_handle<> waiter_;
  bool expired_ = false;
};

}  // namespace kubelane::runtime

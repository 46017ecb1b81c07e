// Deadlines of a worker: a wheel of 250 ms slots, re-armed lazily. Moving a deadline further away
// costs a store; only coming nearer moves it in the wheel.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace kubelane::runtime {

using Clock = std::chrono::steady_clock;

class DeadlineWheel;

// A node of the wheel. Expiry calls on_deadline() once, from the event loop, at most 250 ms late.
// Thread: its worker. Unlinks itself when destroyed.
class Deadline {
 public:
  Deadline() noexcept = default;
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  virtual ~Deadline() { unlink(); }

  void clear() noexcept { armed_ = false; }
  bool armed() const noexcept { return armed_; }

 protected:
  virtual void on_deadline() noexcept = 0;

 private:
  friend class DeadlineWheel;
  void unlink() noexcept;
  Clock::time_point at_{};    // when it shall fire
  Clock::time_point slot_{};  // when the wheel looks at it
  Deadline* previous_ = nullptr;
  Deadline* next_ = nullptr;
  bool armed_ = false;
};

class DeadlineWheel {
 public:
  DeadlineWheel() noexcept;
  DeadlineWheel(const DeadlineWheel&) = delete;
  DeadlineWheel& operator=(const DeadlineWheel&) = delete;

  void arm(Deadline& deadline, Clock::time_point at) noexcept;
  // Fires what is due. Handlers may arm, clear and destroy deadlines.
  void advance(Clock::time_point now) noexcept;
  // Milliseconds until advance() should run next; -1: nothing is linked.
  int timeout(Clock::time_point now) const noexcept;

 private:
  static constexpr std::size_t slots = 1024;  // 256 s; further ones go round again
  static constexpr std::chrono::milliseconds width{250};
  struct Anchor final : Deadline {
    void on_deadline() noexcept override {}
  };
  static std::size_t index(Clock::time_point at) noexcept;
  void link(Deadline& deadline, Clock::time_point slot) noexcept;
  void find_next_due() noexcept;

  std::array<Anchor, slots> anchors_;  // circular lists
  Clock::time_point base_;             // front edge of the slot that advance() looks at next
  Clock::time_point next_due_ = Clock::time_point::max();  // nothing fires before
};

}  // namespace kubelane::runtime

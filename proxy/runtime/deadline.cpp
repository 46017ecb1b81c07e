#include "proxy/runtime/deadline.hpp"

#include <algorithm>

namespace kubelane::runtime {

void Deadline::unlink() noexcept {
  if (next_ == nullptr) return;
  previous_->next_ = next_;
  next_->previous_ = previous_;
  previous_ = next_ = nullptr;
}

// The base stands at the front edge of its slot: a slot is over when the base has passed its width.
DeadlineWheel::DeadlineWheel() noexcept
    : base_(Clock::time_point(Clock::now().time_since_epoch() / width * width)) {
  for (Anchor& anchor : anchors_) {
    anchor.next_ = &anchor;
    anchor.previous_ = &anchor;
  }
}

std::size_t DeadlineWheel::index(Clock::time_point at) noexcept {
  return static_cast<std::size_t>(at.time_since_epoch() / width) % slots;
}

void DeadlineWheel::link(Deadline& deadline, Clock::time_point slot) noexcept {
  deadline.unlink();
  const Clock::time_point horizon = base_ + width * (slots - 2);
  deadline.slot_ = std::clamp(slot, base_, horizon);
  Anchor& anchor = anchors_[index(deadline.slot_)];
  deadline.previous_ = anchor.previous_;
  deadline.next_ = &anchor;
  anchor.previous_->next_ = &deadline;
  anchor.previous_ = &deadline;
  next_due_ = std::min(next_due_, deadline.slot_ + width);
}

void DeadlineWheel::arm(Deadline& deadline, Clock::time_point at) noexcept {
  deadline.at_ = at;
  deadline.armed_ = true;
  // Linked in an earlier or equal slot: looked at in time, and moved on then.
  if (deadline.next_ != nullptr && deadline.slot_ <= at) return;
  link(deadline, at);
}

void DeadlineWheel::advance(Clock::time_point now) noexcept {
  if (now < next_due_) return;
  while (base_ + width <= now) {
    Anchor& anchor = anchors_[index(base_)];
    base_ += width;
    // One at a time from the front: handlers may change the list.
    while (anchor.next_ != &anchor) {
      Deadline& deadline = *anchor.next_;
      deadline.unlink();
      if (!deadline.armed_) continue;
      if (deadline.at_ <= now) {
        deadline.armed_ = false;
        deadline.on_deadline();
      } else {
        link(deadline, deadline.at_);
      }
    }
  }
  find_next_due();
}

void DeadlineWheel::find_next_due() noexcept {
  next_due_ = Clock::time_point::max();
  for (std::size_t i = 0; i < slots; ++i) {
    const Clock::time_point slot = base_ + width * static_cast<int>(i);
    const Anchor& anchor = anchors_[index(slot)];
    if (anchor.next_ == &anchor) continue;
    next_due_ = slot + width;
    return;
  }
}

int DeadlineWheel::timeout(Clock::time_point now) const noexcept {
  if (next_due_ == Clock::time_point::max()) return -1;
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next_due_ - now).count();
  return wait < 0 ? 0 : static_cast<int>(wait);
}

}  // namespace kubelane::runtime

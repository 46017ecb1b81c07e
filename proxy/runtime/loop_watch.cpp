#include "proxy/runtime/loop_watch.hpp"

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>

namespace kubelane::runtime {

LoopWatch::LoopWatch(boost::asio::io_context& io, std::chrono::microseconds interval,
                     std::vector<Beat> loops, std::function<void()> on_well)
    : io_(io), interval_(interval), timer_(io), state_(std::make_shared<State>()) {
  for (Beat& each : loops) state_->loops.push_back({std::move(each)});
  state_->on_well = std::move(on_well);
  beat();
}

void LoopWatch::beat() {
  for (std::size_t i = 0; i < state_->loops.size(); ++i) {
    Loop& loop = state_->loops[i];
    if (loop.asked) {
      ++loop.missed;
      continue;
    }
    loop.asked = true;
    loop.beat([&io = io_, weak = std::weak_ptr(state_), i] {
      boost::asio::post(io, [weak, i] {
        const auto state = weak.lock();
        if (!state) return;
        state->loops[i].asked = false;
        state->loops[i].missed = 0;
        const bool well = std::none_of(state->loops.begin(), state->loops.end(),
                                       [](const Loop& each) { return each.asked; });
        if (well && state->on_well) state->on_well();
      });
    });
  }
  timer_.expires_after(interval_);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) beat();
  });
}

std::string LoopWatch::stuck(unsigned intervals) const {
  std::string which;
  for (std::size_t i = 0; i < state_->loops.size(); ++i)
    if (state_->loops[i].missed >= intervals)
      which += (which.empty() ? "" : ", ") + std::to_string(i);
  return which;
}

}  // namespace kubelane::runtime

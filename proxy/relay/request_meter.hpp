// What one request adds to its worker's meters: counts, times, and what it proves about its
// cluster. Two looks at the clock per request; nothing is allocated.
#pragma once

#include <string_view>

#include "proxy/observe/meters.hpp"

namespace kubelane::relay {

// `upgrade`: exec, attach, port-forward. `watch`: as is_watch() says.
observe::Verb verb_of(std::string_view method, bool watch, bool upgrade) noexcept;
observe::Stream stream_of(std::string_view path, bool watch, bool upgrade) noexcept;

// Thread: its worker. Both meters must outlive it. Counts nothing before begin().
class RequestMeter {
 public:
  using Clock = observe::Clock;

  explicit RequestMeter(observe::WorkerMeter& worker) noexcept : worker_(worker) {}
  ~RequestMeter() { end(0, 0, 0, {}); }
  RequestMeter(const RequestMeter&) = delete;
  RequestMeter& operator=(const RequestMeter&) = delete;

  // `now`: when the loop woke with the request.
  void begin(observe::RouteMeter& route, observe::Verb verb, observe::Stream stream,
             Clock::time_point now) noexcept;
  // The head has gone to the Proxy: so long it was ours.
  void sent() noexcept;
  // The head of the answer has come; `now`: when the loop woke with it.
  void answered(int status, Clock::time_point now) noexcept;
  // The head of the answer has gone to the client: so long it was ours again.
  void delivered() noexcept {
    if (answered_at_ != Clock::time_point{}) record_delivery();
  }
  // It failed on the way upstream.
  void failed(const Error& error, Clock::time_point now) noexcept;
  // `status` 0: the client went away. Once; later calls count nothing.
  void end(int status, std::uint64_t up_bytes, std::uint64_t down_bytes,
           Clock::time_point now) noexcept;

 private:
  void record_delivery() noexcept;

  observe::WorkerMeter& worker_;
  observe::RouteMeter* route_ = nullptr;  // null: not begun, or ended
  observe::Verb verb_ = observe::Verb::other;
  observe::Stream stream_ = observe::Stream::none;
  bool streams_ = false;
  Clock::time_point began_{};
  Clock::time_point answered_at_{};  // zero: not yet, or delivered
  Clock::duration ours_{};           // before it was sent
};

// Counts an answer of our own.
void count_own_answer(observe::WorkerMeter& worker, const Error& error) noexcept;

}  // namespace kubelane::relay

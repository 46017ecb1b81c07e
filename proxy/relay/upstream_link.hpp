// One HTTP/2 connection to the Proxy and the streams on it, of one identity. Watches over its life:
// PINGs find out when it is dead.
#pragma once

#include <vector>

#include "proxy/http/h2_session.hpp"
#include "proxy/link/connect.hpp"
#include "proxy/link/h2_link.hpp"
#include "proxy/relay/h2_exchange.hpp"

namespace kubelane::relay {

// Owns: connection and session. Thread: its worker. The coroutine frame of serve() owns the object;
// it is listed in its H2Upstream from beginning to end.
class UpstreamLink final : private http::H2Owner {
 public:
  UpstreamLink(H2Upstream& upstream, link::UpstreamConnectionPtr connection, std::uint64_t epoch);
  UpstreamLink(const UpstreamLink&) = delete;
  UpstreamLink& operator=(const UpstreamLink&) = delete;
  ~UpstreamLink() override;

  static runtime::Detached serve(H2Upstream& upstream, link::UpstreamConnectionPtr connection,
                                 std::uint64_t epoch);

  // Which of the pool's identities it speaks for (UpstreamPool::epoch()).
  std::uint64_t epoch() const noexcept { return epoch_; }
  bool expired(std::chrono::system_clock::time_point now) const noexcept;
  // New streams may go here, up to has_room().
  bool takes_streams() const noexcept { return !retired_ && !ending_; }
  bool has_room() const noexcept;
  // No new streams; it ends when the running ones have.
  void retire() noexcept;

  // For H2Exchange.
  http::H2Session& session() noexcept { return session_; }
  std::int32_t submit(H2Exchange& exchange) noexcept;
  void forget(H2Exchange& exchange) noexcept;
  void heads_arrived(std::size_t count) noexcept;
  void wake() noexcept { readiness_.wake(); }
  const link::UpstreamSnapshot& snapshot() const noexcept { return *connection_->snapshot; }
  bool carried_before() const noexcept { return submitted_ > 1; }
  // The shortest that a PING took, to wherever HTTP/2 ends; `unknown_round_trip` until there was
  // one.
  static constexpr std::chrono::hours unknown_round_trip{1};
  runtime::Clock::duration round_trip() const noexcept { return round_trip_; }
  runtime::Clock::time_point round_trip_at() const noexcept { return round_trip_at_; }
  void measure_round_trip() noexcept;
  // What a stream may be sent ahead at its beginning.
  std::uint32_t stream_window_bytes() const noexcept { return stream_window_bytes_; }

 private:
  friend class H2Upstream;

  bool look_after(runtime::Clock::time_point now) noexcept;
  runtime::Clock::time_point deadline() const noexcept;
  void lose(const Error& error) noexcept;
  void ping() noexcept;

  http::H2Stream* on_request(std::int32_t, const http::H2Head&) noexcept override {
    return nullptr;  // never: a client's session
  }
  void on_settings() noexcept override;
  void on_goaway(http::H2Code code) noexcept override;
  void on_ping_answer() noexcept override;

  H2Upstream& upstream_;
  const std::uint64_t epoch_;
  runtime::Readiness readiness_;
  link::UpstreamConnectionPtr connection_;
  http::H2Session session_;
  link::H2Link link_;
  std::vector<H2Exchange*> exchanges_;  // each knows its index
  std::size_t awaiting_heads_ = 0;
  std::uint64_t submitted_ = 0;
  runtime::Clock::time_point busy_since_{};  // the oldest wait for a head that may still last
  runtime::Clock::time_point idle_since_{};
  runtime::Clock::time_point ping_sent_at_{};  // zero: none is out
  std::uint64_t ping_bytes_ = 0;               // received before it
  std::int64_t ping_delivered_bytes_ = 0;      // delivered when it was looked at last
  std::uint64_t pings_out_ = 0;
  runtime::Clock::time_point measured_ping_{};  // when the oldest of them left
  runtime::Clock::duration round_trip_ = unknown_round_trip;
  runtime::Clock::time_point round_trip_at_{};  // of the latest measurement
  unsigned round_trips_ = 0;                    // measured at the beginning
  std::uint32_t stream_window_bytes_;
  bool retired_ = false;
  bool ending_ = false;            // GOAWAY of the Proxy, or ours is queued
  std::coroutine_handle<> frame_;  // of serve(): H2Upstream::abandon() destroys it
};

}  // namespace kubelane::relay

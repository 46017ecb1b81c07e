// An HTTP/2 session on a connection: one turn moves what can be moved now, both ways. Used by both
// roles; the coroutine that owns it does the waiting.
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "proxy/http/h2_session.hpp"
#include "proxy/runtime/connection.hpp"
#include "tls/free_lists.hpp"

namespace kubelane::link {

// Scratch of one turn, one per worker: never used across a suspension.
struct H2Scratch {
  static constexpr std::size_t burst_bytes = 64UL * 1024;  // four full TLS records
  std::array<char, burst_bytes> in;
  std::array<char, burst_bytes + http::H2Session::most_fill_overrun_bytes> out;
};

// Sessions take their memory from the free lists of their thread.
inline constexpr http::H2Memory h2_memory{tls::pooled_allocate, tls::pooled_reallocate,
                                          tls::pooled_free};

// Thread: its worker. Connection, session and scratch must outlive it.
class H2Link {
 public:
  H2Link(runtime::Connection& connection, http::H2Session& session, H2Scratch& scratch) noexcept
      : connection_(connection), session_(session), scratch_(scratch) {}

  enum class Turn : std::uint8_t {
    blocked,  // wait for news
    again,    // more could be moved: it is the others' turn now
    ended,    // the peer ended its direction, or the session is over and all was said
    failed,   // error() tells
  };
  Turn turn() noexcept;
  // Says what is left to say, ends our direction, and reads on, unheard, until the peer ends its
  // own: bytes that nobody reads would reset what we said last. False while that takes longer; the
  // caller sets the limit. Whoever owned streams has disowned them.
  bool say_goodbye() noexcept;

  const Error& error() const noexcept { return error_; }
  // When the last byte came; the connection's beginning before that.
  runtime::Clock::time_point received_at() const noexcept { return received_at_; }
  bool received_any() const noexcept { return received_any_; }
  void start(runtime::Clock::time_point now) noexcept { received_at_ = now; }
  std::uint64_t received_bytes() const noexcept { return received_bytes_; }
  // What was sent less what the peer's host has not acknowledged: grows while anything gets
  // through. Of no other meaning, since one is counted before encryption.
  std::int64_t delivered_bytes() const noexcept;

 private:
  bool read(runtime::Clock::time_point now, bool& again) noexcept;
  bool write() noexcept;

  runtime::Connection& connection_;
  http::H2Session& session_;
  H2Scratch& scratch_;
  std::string unsent_;  // what the stream did not take; rare: it was blocked in the middle
  Error error_{};
  runtime::Clock::time_point received_at_{};
  std::uint64_t received_bytes_ = 0;
  std::uint64_t sent_bytes_ = 0;
  bool received_any_ = false;
  bool peer_ended_ = false;
  bool closing_ = false;  // the session refused what came: only our last words are left
};

}  // namespace kubelane::link

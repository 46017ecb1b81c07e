// HTTP/2 on a local connection: streams come and go as exchanges; one coroutine moves the bytes of
// all of them.
#pragma once

#include <memory>
#include <vector>

#include "proxy/http/h2_session.hpp"
#include "proxy/link/h2_link.hpp"
#include "proxy/relay/h2_exchange.hpp"
#include "proxy/relay/local_connection.hpp"

namespace kubelane::relay {

// Owns: the session and its exchanges. Thread: its worker.
class LocalHttp2 final : private http::H2Owner {
 public:
  explicit LocalHttp2(LocalConnection& connection);
  LocalHttp2(const LocalHttp2&) = delete;
  LocalHttp2& operator=(const LocalHttp2&) = delete;
  ~LocalHttp2() override;

  // Runs the connection, which has made its handshake, to its end.
  static runtime::Task<bool> serve(LocalConnection& connection);

 private:
  friend class H2Exchange;

  // The session has something to say: in the next round.
  void wake() noexcept { readiness_.wake(); }
  void gone(H2Exchange& exchange) noexcept;  // destroys it
  // What ends a connection when it happens too often: a wrong token, a request that is none.
  void token_rejected() noexcept;
  void head_rejected() noexcept;
  // The client does not take an answer of ours: the connection ends.
  void answer_unread() noexcept;
  // No new streams from now on; running ones finish.
  void shut_down() noexcept;
  bool look_at_phase(runtime::Clock::time_point now) noexcept;
  runtime::Clock::time_point deadline() const noexcept;

  http::H2Stream* on_request(std::int32_t stream, const http::H2Head& head) noexcept override;
  void on_settings() noexcept override {}
  void on_goaway(http::H2Code) noexcept override {}
  void on_ping_answer() noexcept override;

  LocalConnection& base_;
  Worker& worker_;
  runtime::Readiness& readiness_;
  http::H2Session session_;
  link::H2Link link_;
  std::vector<std::unique_ptr<H2Exchange>> exchanges_;
  runtime::Clock::time_point began_;        // of a wait for the preface or a header section
  runtime::Clock::time_point idle_since_;   // without streams
  runtime::Clock::time_point notice_at_{};  // of the shutdown
  runtime::Clock::time_point next_watch_end_ = runtime::Clock::time_point::max();
  unsigned rejected_tokens_ = 0;
  unsigned rejected_heads_ = 0;
  bool unread_ = false;
  bool head_was_open_ = false;
  std::uint64_t heads_begun_ = 0;  // of the session, when it was looked at last
  bool notice_sent_ = false;
  bool ended_all_ = false;
};

}  // namespace kubelane::relay

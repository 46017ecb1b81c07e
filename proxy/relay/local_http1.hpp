// HTTP/1.1 on a local connection: request after request: head, admit, exchange; or an answer of our
// own; or a tunnel. One coroutine per connection.
#pragma once

#include <string>
#include <string_view>

#include "proxy/relay/admit.hpp"
#include "proxy/relay/flow.hpp"
#include "proxy/relay/local_connection.hpp"
#include "proxy/relay/worker.hpp"
#include "proxy/runtime/connection.hpp"
#include "proxy/runtime/readiness.hpp"
#include "proxy/runtime/task.hpp"

namespace kubelane::relay {

// What becomes of the local connection after a request.
enum class After : std::uint8_t {
  keep,    // next request
  close,   // end it properly
  linger,  // the request was not read to its end: let the client read our answer first
  abort,   // reset it: the answer was cut short and must not look complete
};

// Owns: the request bytes. Thread: its worker.
class LocalHttp1 {
 public:
  explicit LocalHttp1(LocalConnection& connection);
  LocalHttp1(const LocalHttp1&) = delete;
  LocalHttp1& operator=(const LocalHttp1&) = delete;

  // Runs the connection, which has made its handshake, to its end.
  static runtime::Task<bool> serve(LocalConnection& connection);

 private:
  friend class Exchange;
  friend class Tunnel;

  runtime::Task<bool> read_head();
  runtime::Task<bool> refuse_head(Code code, std::string message, runtime::Clock::time_point began);
  runtime::Task<After> serve_request();
  void log_refused(const Admission& admission, const Error& error) const;
  // Sends a Status as the answer to the current request.
  runtime::Task<After> answer(Error error, std::string message, bool body_unread);
  runtime::Task<bool> send_all(std::string bytes);
  runtime::Task<bool> end_properly(bool linger);

  Worker& worker_;
  ListenerPtr& listener_;
  const std::size_t listener_index_;
  const bool refuse_;
  runtime::Readiness& readiness_;
  runtime::Connection& connection_;
  Flow up_;  // client to Proxy; its buffer begins with the request head
  http::HeadParser parser_;
  std::size_t head_bytes_ = 0;  // of the current request, at the front of up_.buffer
  unsigned rejected_tokens_ = 0;
  bool head_method_ = false;  // the current request is a HEAD
  std::string accept_;        // of the current request, when an error must be shaped
};

}  // namespace kubelane::relay

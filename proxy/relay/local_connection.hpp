// A local connection from accept to its end: handshake, then HTTP/1.1 or HTTP/2 as ALPN chose.
#pragma once

#include <coroutine>

#include "proxy/relay/worker.hpp"
#include "proxy/runtime/connection.hpp"
#include "proxy/runtime/readiness.hpp"
#include "proxy/runtime/task.hpp"

namespace kubelane::relay {

// Owns: the connection. Thread: its worker. The coroutine frame of serve() owns the object; it is
// listed in its worker from beginning to end.
class LocalConnection {
 public:
  LocalConnection(Worker& worker, std::size_t listener, bool refuse);
  ~LocalConnection();
  LocalConnection(const LocalConnection&) = delete;
  LocalConnection& operator=(const LocalConnection&) = delete;

  // Runs the connection to its end. `refuse`: over the connection limit, every request gets 429.
  static runtime::Detached serve(Worker& worker, tls::UniqueFd fd, std::size_t listener,
                                 bool refuse);

  // Looks at its worker's state again (drain, protocol). Same thread.
  void wake() noexcept { readiness_.wake(); }

  // For who asks what is connected.
  observe::ConnectionState state(runtime::Clock::time_point now) const;

 private:
  friend class Worker;
  friend class H2Exchange;
  friend class LocalHttp1;
  friend class LocalHttp2;

  runtime::Task<bool> handshake();

  Worker& worker_;
  std::coroutine_handle<> frame_;  // of serve(): its worker destroys it when it stops
  ListenerPtr listener_;
  std::size_t listener_index_;
  std::size_t index_in_worker_ = 0;
  bool refuse_;
  bool greeted_ = false;  // the handshake, if any, is complete
  const runtime::Clock::time_point since_;
  std::uint64_t requests_ = 0;
  std::size_t active_ = 0;  // requests that run now
  runtime::Readiness readiness_;
  runtime::Connection connection_;
};

}  // namespace kubelane::relay

// TLS sessions (tickets) for resumption toward the Proxy: of one identity in one worker. Dies with
// its identity, so that a resumed session never speaks with an older certificate.
#pragma once

#include <array>
#include <cstddef>

#include "tls/openssl.hpp"

namespace kubelane::tls {

// Owns: up to four sessions, newest first out. Thread: its worker.
class SessionCache {
 public:
  void put(SessionPtr session) noexcept;
  // A session to offer once (RFC 8446 appendix C.4), or null.
  SessionPtr take() noexcept;
  void clear() noexcept;
  std::size_t size() const noexcept { return count_; }

  // Routes new tickets of connections made from `context` to the cache that the connection was
  // given by attach(). Call once per context, before it is shared with workers.
  static void enable(SSL_CTX* context);
  // `cache` must outlive the connection or be detached with nullptr.
  static void attach(SSL* ssl, SessionCache* cache);

 private:
  std::array<SessionPtr, 4> sessions_;
  std::size_t count_ = 0;
};

}  // namespace kubelane::tls

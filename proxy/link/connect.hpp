// One upstream connection made usable: TCP to one of the known addresses, TLS with our identity.
#pragma once

#include <memory>
#include <string>

#include "config/config.hpp"
#include "proxy/link/upstream_snapshot.hpp"
#include "proxy/runtime/connection.hpp"
#include "proxy/runtime/readiness.hpp"
#include "proxy/runtime/task.hpp"
#include "tls/session_cache.hpp"

namespace kubelane::link {

// A handshaken connection to the Proxy. Speaks for exactly one identity.
struct UpstreamConnection : runtime::Connection {
  UpstreamConnection(runtime::EventLoop& loop, UpstreamSnapshotPtr from,
                     std::shared_ptr<tls::SessionCache> tickets) noexcept
      : Connection(loop, Side::upstream), snapshot(std::move(from)), sessions(std::move(tickets)) {}
  const UpstreamSnapshotPtr snapshot;
  const std::shared_ptr<tls::SessionCache> sessions;  // where new tickets go
  runtime::Clock::time_point idle_since{};
  std::uint64_t requests = 0;  // sent on it so far
};
using UpstreamConnectionPtr = std::unique_ptr<UpstreamConnection>;

// Tries the snapshot's addresses in order; `first_address` (modulo their count) goes first. TCP and
// TLS each have a deadline per address. The snapshot must have an identity and addresses. The
// result's sink is `readiness`. `alpn`: what to offer; the result's stream tells what was chosen.
// Errors: refused, timeout, tls_handshake, tls_untrusted, tls_peer, reset, eof; Retry::yes, since
// no byte of a request was sent.
runtime::Task<Result<UpstreamConnectionPtr>> connect(
    runtime::Readiness& readiness, tls::WriteBatch& batch, UpstreamSnapshotPtr snapshot,
    std::shared_ptr<tls::SessionCache> sessions, const Timeouts& timeouts,
    std::size_t first_address, tls::Alpn alpn = tls::Alpn::http1);

}  // namespace kubelane::link

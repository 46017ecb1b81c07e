#include "proxy/link/connect.hpp"

#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace kubelane::link {
namespace {

using runtime::Clock;
using Kind = tls::Step::Kind;

void set_socket_options(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  const int idle_seconds = 30;
  const int interval_seconds = 10;
  const int probes = 3;
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

Error connect_error(int sys) {
  const Code code = sys == ETIMEDOUT ? Code::timeout : Code::refused;
  return {code, Side::upstream, Retry::yes, sys, "connect"};
}

Error timed_out(const char* where) { return {Code::timeout, Side::upstream, Retry::yes, 0, where}; }

}  // namespace

runtime::Task<Result<UpstreamConnectionPtr>> connect(runtime::Readiness& readiness,
                                                     tls::WriteBatch& batch,
                                                     UpstreamSnapshotPtr snapshot,
                                                     std::shared_ptr<tls::SessionCache> sessions,
                                                     const Timeouts& timeouts,
                                                     std::size_t first_address, tls::Alpn alpn) {
  Error last{Code::dns, Side::upstream, Retry::yes, 0, "connect"};
  const std::size_t count = snapshot->addresses.size();
  for (std::size_t i = 0; i < count; ++i) {
    const SocketAddress& address = snapshot->addresses[(first_address + i) % count];
    tls::UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                              IPPROTO_TCP));
    if (!fd) {
      last = {Code::overloaded, Side::self, Retry::no, errno, "socket"};
      continue;
    }
    set_socket_options(fd.get());
    auto connection = std::make_unique<UpstreamConnection>(readiness.loop(), snapshot, sessions);
    connection->set_sink(&readiness);
    const int raw = fd.get();
    const int started =
        ::connect(raw, reinterpret_cast<const sockaddr*>(&address.storage), address.length);
    const int start_error = started == 0 ? 0 : errno;
    if (start_error != 0 && start_error != EINPROGRESS) {
      last = connect_error(start_error);
      continue;
    }
    if (!connection->open(std::move(fd), batch)) {
      last = {Code::overloaded, Side::self, Retry::no, errno, "register socket"};
      continue;
    }
    readiness.loop().refresh_now();
    if (start_error == EINPROGRESS) {
      connection->socket().would_block_writing();
      const Clock::time_point deadline = readiness.loop().now() + timeouts.connect;
      bool in_time = true;
      while (in_time && !connection->socket().writable) in_time = co_await readiness.wait(deadline);
      if (!connection->socket().writable) {
        last = timed_out("connect");
        continue;
      }
      int sys = 0;
      socklen_t length = sizeof sys;
      ::getsockopt(raw, SOL_SOCKET, SO_ERROR, &sys, &length);
      if (sys != 0) {
        last = connect_error(sys);
        continue;
      }
    }
    // What happened on the way to an established connection is not news about its bytes.
    connection->socket().peer_ended = false;
    connection->socket().broken = false;
    tls::Stream& stream = connection->stream();
    if (!stream.connect_tls(snapshot->identity->context.get(), snapshot->target.server_name,
                            sessions.get(), alpn)) {
      last = {Code::internal, Side::self, Retry::no, 0, "TLS set-up"};
      continue;
    }
    const Clock::time_point deadline = readiness.loop().now() + timeouts.upstream_handshake;
    bool in_time = true;
    for (;;) {
      const tls::Step step = stream.handshake();
      if (step.kind == Kind::moved) co_return connection;
      if (step.kind == Kind::failed) {
        last = step.error;
        last.retry = Retry::yes;
        break;
      }
      if (!in_time) {
        last = timed_out("TLS handshake");
        break;
      }
      in_time = co_await readiness.wait(deadline);
    }
  }
  co_return last;
}

}  // namespace kubelane::link

// A byte stream that stands in an event loop: socket, TLS, registration.
#pragma once

#include "proxy/runtime/event_loop.hpp"
#include "tls/stream.hpp"

namespace kubelane::runtime {

// Owns: the stream and its registration. Thread: its worker. Ends when destroyed: the socket
// closes.
class Connection {
 public:
  Connection(EventLoop& loop, Side side) noexcept : loop_(loop), stream_(side) {
    watch_.socket = &stream_.socket();
    stream_.socket().write_edge = &watch_;
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { loop_.forget(watch_); }

  // Takes a non-blocking socket. False when it cannot be registered (errno tells): there
  // is nothing to do then but to destroy this, which closes the socket.
  bool open(tls::UniqueFd fd, tls::WriteBatch& batch) noexcept {
    const int raw = fd.get();
    stream_.open(std::move(fd), batch);
    return loop_.add(raw, watch_);
  }

  // Whom to run when the socket has news; null: nobody, the flags are still kept.
  void set_sink(Runnable* sink) noexcept { watch_.sink = sink; }

  tls::Stream& stream() noexcept { return stream_; }
  const tls::Stream& stream() const noexcept { return stream_; }
  tls::SocketState& socket() noexcept { return stream_.socket(); }
  const EventLoop& loop() const noexcept { return loop_; }

 private:
  EventLoop& loop_;
  Watch watch_;
  tls::Stream stream_;
};

}  // namespace kubelane::runtime

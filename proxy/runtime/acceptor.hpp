// A listening socket on the control thread: accepts whatever is queued and hands each connection
// on. Out of descriptors, it pauses instead of spinning.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/config.hpp"
#include "config/result.hpp"
#include "tls/socket.hpp"

namespace kubelane::runtime {

// Owns: the listening socket. Thread: control.
class Acceptor {
 public:
  using HandOver = std::function<void(tls::UniqueFd)>;

  Acceptor(boost::asio::io_context& io, HandOver hand_over);
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Binds and listens. Failure: which address, why, what to do.
  Outcome<void> listen(const ListenAddress& address);
  void start();
  // Takes what the kernel has accepted already, then closes the socket.
  void close();

  std::uint16_t port() const noexcept { return port_; }

 private:
  void wait();
  bool accept_queued();

  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer pause_;
  HandOver hand_over_;
  std::uint16_t port_ = 0;
  bool told_ = false;  // that there are no descriptors, since the last connection
};

}  // namespace kubelane::runtime

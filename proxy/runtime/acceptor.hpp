// Listening sockets: bound on the control thread, so that a wrong address is told at the start, and
// accepted from in a worker's loop, because waking a thread to hand each connection to another one
// cost a tenth of a TLS handshake.
#pragma once

#include <cstdint>
#include <functional>

#include "config/config.hpp"
#include "config/result.hpp"
#include "proxy/runtime/event_loop.hpp"
#include "tls/socket.hpp"

namespace kubelane::runtime {

struct ListeningSocket {
  tls::UniqueFd fd;
  std::uint16_t port = 0;
};

// Binds and listens. Failure: which address, why, what to do.
Outcome<ListeningSocket> listen_on(const ListenAddress& address);
// One that somebody else has opened: takes `fd`, and says in `address` where it listens. Failure:
// it is no socket that listens for TCP.
Outcome<ListeningSocket> listen_by(tls::UniqueFd fd, ListenAddress& address);

// Owns: the listening socket. Takes one connection per round of the loop, because the first
// step of a handshake is the longest thing a worker does, and running requests shall not wait for a
// whole burst of them. Out of descriptors, it pauses instead of spinning.
// Thread: its worker. Ends when destroyed, or close().
class Acceptor final : public Runnable {
 public:
  using HandOver = std::function<void(tls::UniqueFd)>;

  // Starts at once.
  Acceptor(EventLoop& loop, tls::UniqueFd socket, HandOver hand_over);
  ~Acceptor() override;

  // Takes what the kernel has accepted already, then closes the socket.
  void close() noexcept;

 private:
  enum class Accepted : std::uint8_t { one, none, exhausted };
  struct Pause final : Deadline {
    explicit Pause(Acceptor& acceptor) noexcept : owner(acceptor) {}
    void on_deadline() noexcept override { owner.start(); }
    Acceptor& owner;
  };

  void start() noexcept;
  void stop() noexcept;
  void run() noexcept override;
  Accepted accept_one() noexcept;

  EventLoop& loop_;
  tls::UniqueFd socket_;
  HandOver hand_over_;
  tls::SocketState state_;
  Watch watch_;
  Pause pause_;
  bool watching_ = false;
  bool told_ = false;  // that there are no descriptors, since the last connection
};

}  // namespace kubelane::runtime

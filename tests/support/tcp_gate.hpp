// A TCP relay in front of a loopback port that takes connections at once and holds their bytes
// until it is opened: what happens while a connection is being made can be arranged.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <list>
#include <stdexcept>
#include <thread>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace support {

class TcpGate {
 public:
  explicit TcpGate(std::uint16_t to) : to_(to) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, generic, length) != 0 || ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, generic, &length) != 0)
      throw std::runtime_error("gate");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~TcpGate() {
    stopping_ = true;
    thread_.join();
    for (const Pair& pair : pairs_)
      for (const int fd : pair) ::close(fd);
    ::close(listener_);
  }
  TcpGate(const TcpGate&) = delete;
  TcpGate& operator=(const TcpGate&) = delete;

  std::uint16_t port() const { return port_; }
  void open() { open_ = true; }
  std::size_t taken() const { return taken_; }  // connections so far

 private:
  using Pair = std::array<int, 2>;

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void run() {
    while (!stopping_) {
      pollfd news{listener_, POLLIN, 0};
      if (::poll(&news, 1, 2) > 0) accept_one();
      if (!open_) continue;
      for (auto pair = pairs_.begin(); pair != pairs_.end();) {
        if (move((*pair)[0], (*pair)[1]) && move((*pair)[1], (*pair)[0])) {
          ++pair;
          continue;
        }
        for (const int fd : *pair) ::close(fd);
        pair = pairs_.erase(pair);
      }
    }
  }

  void accept_one() {
    const int from = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    const int there = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(to_);
    if (::connect(there, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      ::shutdown(from, SHUT_RDWR);
    pairs_.push_back({from, there});
    ++taken_;
  }

  // What is there now. False when one of them has ended.
  static bool move(int from, int to) {
    char block[16 * 1024];
    const ssize_t got = ::recv(from, block, sizeof block, MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return false;
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t now =
          ::send(to, block + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
      if (now < 0) return false;
      sent += now;
    }
    return true;
  }

  std::uint16_t to_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::list<Pair> pairs_;  // the thread's
  std::atomic<bool> open_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<std::size_t> taken_{0};
  std::thread thread_;
};

}  // namespace support

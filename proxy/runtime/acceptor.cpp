#include "proxy/runtime/acceptor.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "proxy/observe/log.hpp"

namespace kubelane::runtime {
namespace {

constexpr std::chrono::milliseconds descriptor_pause{100};

// Accepted sockets inherit all of this.
void set_socket_options(int fd, bool loopback) {
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  const int idle_seconds = 30;
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  // Nothing is lost on loopback and nothing needs pacing: BBR, the default of many hosts, costs
  // timers there. Reno is in every kernel and open to every user.
  if (loopback) ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

bool is_loopback(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET)
    return (ntohl(reinterpret_cast<const sockaddr_in&>(storage).sin_addr.s_addr) >> 24) == 127;
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr);
}

socklen_t fill(const ListenAddress& address, sockaddr_storage& storage) {
  const std::string host = address.host == "localhost" ? "127.0.0.1" : address.host;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  if (::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    return sizeof *v4;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (::inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    return sizeof *v6;
  }
  return 0;
}

}  // namespace

Acceptor::Acceptor(boost::asio::io_context& io, HandOver hand_over)
    : socket_(io), pause_(io), hand_over_(std::move(hand_over)) {}

Outcome<void> Acceptor::listen(const ListenAddress& address) {
  const std::string where = address.host + ":" + std::to_string(address.port);
  const auto failed = [&where](int error) {
    std::string remedy;
    if (error == EADDRINUSE)
      remedy = "; another process listens there: stop it or choose another listen address";
    if (error == EACCES) remedy = "; ports below 1024 need a privilege: choose a higher one";
    if (error == EADDRNOTAVAIL) remedy = "; this machine has no such address";
    return Failure{Code::config, "cannot listen on " + where + ": " +
                                     std::generic_category().message(error) + remedy};
  };
  sockaddr_storage storage{};
  socklen_t length = fill(address, storage);
  if (length == 0) return failed(EADDRNOTAVAIL);
  tls::UniqueFd fd(
      ::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!fd) return failed(errno);
  set_socket_options(fd.get(), is_loopback(storage));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0)
    return failed(errno);
  length = sizeof storage;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &length);
  port_ = ntohs(storage.ss_family == AF_INET
                    ? reinterpret_cast<const sockaddr_in*>(&storage)->sin_port
                    : reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  socket_.assign(fd.release());
  return {};
}

void Acceptor::start() { wait(); }

void Acceptor::close() {
  if (!socket_.is_open()) return;
  accept_queued();
  pause_.cancel();
  socket_.close();
}

void Acceptor::wait() {
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     [this](boost::system::error_code error) {
                       if (error || !socket_.is_open()) return;
                       if (accept_queued()) {
                         wait();
                         return;
                       }
                       pause_.expires_after(descriptor_pause);
                       pause_.async_wait([this](boost::system::error_code cancelled) {
                         if (!cancelled) wait();
                       });
                     });
}

// False: out of descriptors or memory, worth a pause.
bool Acceptor::accept_queued() {
  for (;;) {
    tls::UniqueFd fd(
        ::accept4(socket_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      told_ = false;
      hand_over_(std::move(fd));
      continue;
    }
    switch (errno) {
      case EINTR:
      case ECONNABORTED:
        continue;
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        if (!std::exchange(told_, true))
          log::warn("cannot accept connections; trying again",
                    {{"cause", std::generic_category().message(errno)},
                     {"remedy", "raise the limit of open files (LimitNOFILE, ulimit -n)"}});
        return false;
      default:
        return true;
    }
  }
}

}  // namespace kubelane::runtime

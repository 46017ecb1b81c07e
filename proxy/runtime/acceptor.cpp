#include "proxy/runtime/acceptor.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
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

Outcome<ListeningSocket> listen_on(const ListenAddress& address) {
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
  ListeningSocket made;
  made.fd = tls::UniqueFd(
      ::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  const int fd = made.fd.get();
  if (fd < 0) return failed(errno);
  set_socket_options(fd, is_loopback(storage));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&storage), length) != 0 ||
      ::listen(fd, SOMAXCONN) != 0)
    return failed(errno);
  length = sizeof storage;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  made.port = ntohs(storage.ss_family == AF_INET
                        ? reinterpret_cast<const sockaddr_in*>(&storage)->sin_port
                        : reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  return made;
}

Outcome<ListeningSocket> listen_by(tls::UniqueFd fd, ListenAddress& address) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &length) != 0 ||
      (storage.ss_family != AF_INET && storage.ss_family != AF_INET6) ||
      ::getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0)
    return Failure{Code::config, "is no socket that listens for TCP (ListenStream=127.0.0.1:PORT)"};
  const bool four = storage.ss_family == AF_INET;
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(
      storage.ss_family,
      four ? static_cast<const void*>(&v4.sin_addr) : static_cast<const void*>(&v6.sin6_addr), text,
      sizeof text);
  address.host = text;
  address.port = ntohs(four ? v4.sin_port : v6.sin6_port);
  set_socket_options(fd.get(), is_loopback(storage));
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  ListeningSocket made;
  made.fd = std::move(fd);
  made.port = address.port;
  return made;
}

Acceptor::Acceptor(EventLoop& loop, tls::UniqueFd socket, HandOver hand_over)
    : loop_(loop), socket_(std::move(socket)), hand_over_(std::move(hand_over)), pause_(*this) {
  watch_.socket = &state_;
  watch_.sink = this;
  start();
}

Acceptor::~Acceptor() { stop(); }

void Acceptor::close() noexcept {
  pause_.clear();
  while (socket_ && accept_one() == Accepted::one) {
  }
  stop();
  socket_.reset();
}

void Acceptor::start() noexcept {
  watching_ = loop_.add_listening(socket_.get(), watch_);
  if (!watching_) loop_.deadlines().arm(pause_, loop_.now() + descriptor_pause);
}

void Acceptor::stop() noexcept {
  if (watching_) loop_.remove(socket_.get(), watch_);
  watching_ = false;
}

// The kernel tells again when there are more.
void Acceptor::run() noexcept {
  if (!socket_ || accept_one() != Accepted::exhausted) return;
  stop();
  loop_.deadlines().arm(pause_, loop_.now() + descriptor_pause);
}

Acceptor::Accepted Acceptor::accept_one() noexcept {
  for (;;) {
    tls::UniqueFd fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      told_ = false;
      hand_over_(std::move(fd));
      return Accepted::one;
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
        return Accepted::exhausted;
      default:
        return Accepted::none;
    }
  }
}

}  // namespace kubelane::runtime

#include "tests/lab/tls_stream.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace lab {
namespace {

std::string openssl_reason() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "the connection broke";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "TLS error";
}

int clamp(std::size_t bytes) { return static_cast<int>(std::min<std::size_t>(bytes, 1u << 20)); }

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

struct TlsStream::Early {
  int fd;
  std::string bytes;
  std::size_t at = 0;

  // A BIO over the socket that first gives the bytes taken earlier, and never raises SIGPIPE.
  static BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lab socket");
      BIO_meth_set_read(fresh, [](BIO* bio, char* into, int count) {
        Early& self = *static_cast<Early*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        if (self.at < self.bytes.size()) {
          const std::size_t taken =
              std::min(static_cast<std::size_t>(count), self.bytes.size() - self.at);
          std::memcpy(into, self.bytes.data() + self.at, taken);
          self.at += taken;
          return static_cast<int>(taken);
        }
        const ssize_t got = recv(self.fd, into, static_cast<std::size_t>(count), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
        return static_cast<int>(got);
      });
      BIO_meth_set_write(fresh, [](BIO* bio, const char* from, int count) {
        const Early& self = *static_cast<Early*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        const ssize_t sent =
            send(self.fd, from, static_cast<std::size_t>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
        return static_cast<int>(sent);
      });
      BIO_meth_set_ctrl(fresh, [](BIO*, int command, long, void*) {
        return command == BIO_CTRL_FLUSH ? 1L : 0L;
      });
      return fresh;
    }();
    return made;
  }
};

TlsStream::TlsStream(Socket socket, const ContextPtr& context, std::string early, int wake_fd)
    : socket_(std::move(socket)),
      early_(std::make_unique<Early>(Early{socket_.fd(), std::move(early)})),
      ssl_(SSL_new(context.get()), SSL_free),
      wake_fd_(wake_fd) {
  BIO* bio = BIO_new(Early::method());
  BIO_set_data(bio, early_.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_mode(ssl_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

TlsStream::~TlsStream() = default;

void TlsStream::wait(int ssl_error) {
  const bool write = ssl_error == SSL_ERROR_WANT_WRITE;
  pollfd ready{socket_.fd(), static_cast<short>(write ? POLLOUT : POLLIN), 0};
  poll(&ready, 1, -1);
}

void TlsStream::handshake(int (*step)(SSL*)) {
  for (;;) {
    ERR_clear_error();
    const int result = step(ssl_.get());
    if (result == 1) return;
    const int error = SSL_get_error(ssl_.get(), result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
      throw ConnectionLost{"TLS handshake: " + openssl_reason()};
    }
    wait(error);
  }
}

void TlsStream::accept() { handshake(SSL_accept); }

void TlsStream::connect(const std::string& server_name) {
  if (!server_name.empty()) SSL_set_tlsext_host_name(ssl_.get(), server_name.c_str());
  handshake(SSL_connect);
}

int TlsStream::read_once(char* into, std::size_t bytes, std::size_t& got) {
  const std::scoped_lock lock(mutex_);
  ERR_clear_error();
  const int result = SSL_read(ssl_.get(), into, clamp(bytes));
  got = result > 0 ? static_cast<std::size_t>(result) : 0;
  if (result > 0) return SSL_ERROR_NONE;
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_ZERO_RETURN) return SSL_ERROR_NONE;
  if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
    throw ConnectionLost{"read: " + openssl_reason()};
  }
  return error;
}

int TlsStream::write_once(std::string_view bytes, std::size_t& sent) {
  const std::scoped_lock lock(mutex_);
  ERR_clear_error();
  const int result = SSL_write(ssl_.get(), bytes.data(), clamp(bytes.size()));
  sent = result > 0 ? static_cast<std::size_t>(result) : 0;
  if (result > 0) return SSL_ERROR_NONE;
  const int error = SSL_get_error(ssl_.get(), result);
  if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
    throw ConnectionLost{"write: " + openssl_reason()};
  }
  return error;
}

std::size_t TlsStream::read_some(char* into, std::size_t bytes) {
  for (std::size_t got = 0;;) {
    const int error = read_once(into, bytes, got);
    if (error == SSL_ERROR_NONE) return got;
    wait(error);
  }
}

std::optional<std::size_t> TlsStream::try_read(char* into, std::size_t bytes) {
  std::size_t got = 0;
  if (read_once(into, bytes, got) != SSL_ERROR_NONE) return std::nullopt;
  return got;
}

void TlsStream::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    std::size_t sent = 0;
    const int error = write_once(bytes, sent);
    bytes.remove_prefix(sent);
    if (error != SSL_ERROR_NONE) wait(error);
  }
}

std::size_t TlsStream::try_write(std::string_view bytes) {
  std::size_t sent = 0;
  write_once(bytes, sent);
  return sent;
}

void TlsStream::write_plain(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      throw ConnectionLost{"plain write"};
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

bool TlsStream::peer_ended() const {
  pollfd state{socket_.fd(), POLLRDHUP, 0};
  return poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void TlsStream::close_write() {
  const std::scoped_lock lock(mutex_);
  if (write_closed_) return;
  write_closed_ = true;
  ERR_clear_error();
  if (SSL_is_init_finished(ssl_.get())) SSL_shutdown(ssl_.get());
  ERR_clear_error();
  shutdown(socket_.fd(), SHUT_WR);
}

void TlsStream::linger(int milliseconds) {
  close_write();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  char block[16 * 1024];
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                          deadline - std::chrono::steady_clock::now())
                          .count();
    pollfd ready{socket_.fd(), POLLIN, 0};
    if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) <= 0) return;
    if (recv(socket_.fd(), block, sizeof block, MSG_DONTWAIT) <= 0) return;
  }
}

void TlsStream::reset() {
  const std::scoped_lock lock(mutex_);
  write_closed_ = true;
  const struct linger at_once { 1, 0 };
  setsockopt(socket_.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  // Dissolving the association sends the RST now and leaves the descriptor valid for other threads.
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  ::connect(socket_.fd(), &none, sizeof none);
}

bool TlsStream::wait_readable(int milliseconds) {
  if (buffered()) return true;
  {
    const std::scoped_lock lock(mutex_);
    if (SSL_has_pending(ssl_.get())) return true;
  }
  std::array<pollfd, 2> ready{pollfd{socket_.fd(), POLLIN, 0}, pollfd{wake_fd_, POLLIN, 0}};
  const int count = poll(ready.data(), wake_fd_ >= 0 ? 2 : 1, milliseconds);
  if (count <= 0) return false;
  if (ready[0].revents != 0) return true;
  woken_ = true;
  return false;
}

}  // namespace lab

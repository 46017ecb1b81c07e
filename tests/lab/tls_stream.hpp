// A TLS connection as a blocking Stream. One thread may read while another writes.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <openssl/ssl.h>

#include "tests/lab/http.hpp"

namespace lab {

// An owned socket.
class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

using ContextPtr = std::shared_ptr<SSL_CTX>;
using SslPtr = std::unique_ptr<SSL, decltype(&SSL_free)>;

class TlsStream final : public Stream {
 public:
  // `early`: bytes of the peer that were already taken off the socket. `wake_fd`: an eventfd that
  // ends wait_readable() when it becomes readable, or -1. Takes the socket.
  TlsStream(Socket socket, const ContextPtr& context, std::string early = {}, int wake_fd = -1);
  ~TlsStream() override;

  // Throw ConnectionLost with OpenSSL's reason.
  void accept();
  void connect(const std::string& server_name);

  SSL* ssl() { return ssl_.get(); }
  int fd() const { return socket_.fd(); }
  // Between requests the connection may be taken away: true after the wake descriptor fired.
  bool woken() const { return woken_; }
  bool peer_ended() const override;
  // Without waiting. Nothing: there is no byte yet; 0: the peer ended its direction.
  std::optional<std::size_t> try_read(char* into, std::size_t bytes);
  // Without waiting: how many bytes went, 0 when none can.
  std::size_t try_write(std::string_view bytes);
  // Ends our direction and reads off what the peer still sends, for at most that long: a close with
  // unread bytes would be a reset and could destroy what we sent last.
  void linger(int milliseconds);

  void close_write() override;
  void reset() override;
  bool wait_readable(int milliseconds) override;

  // Bytes as they are into the TCP stream, outside TLS.
  void write_plain(std::string_view bytes);

 protected:
  std::size_t read_some(char* into, std::size_t bytes) override;
  void write_all(std::string_view bytes) override;

 private:
  struct Early;  // what the BIO reads first
  void handshake(int (*step)(SSL*));
  void wait(int ssl_error);
  // One call into OpenSSL. They return SSL_ERROR_NONE (no byte read then: the end) or what it waits
  // for.
  int read_once(char* into, std::size_t bytes, std::size_t& got);
  int write_once(std::string_view bytes, std::size_t& sent);

  Socket socket_;
  std::unique_ptr<Early> early_;
  SslPtr ssl_;
  std::mutex mutex_;  // around each call into ssl_
  int wake_fd_;
  bool woken_ = false;
  bool write_closed_ = false;
};

}  // namespace lab

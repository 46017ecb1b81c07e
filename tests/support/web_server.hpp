// A web service of one answer for unit tests: TLS on a free loopback port, any bytes in reply, then
// whatever end is wanted. Header-only: unit tests link no support code.
#pragma once

#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/pki.hpp"

namespace kubelane_test {

class WebServer {
 public:
  enum class End {
    close,  // close_notify and FIN
    cut,    // FIN without close_notify
    reset,
    hold,  // stays open until the server ends
  };
  struct Reply {
    std::string bytes;
    End end = End::close;
  };
  // Gets the head of the request. Runs on the server's thread.
  using Script = std::function<Reply(const std::string& request)>;

  // `names` of the certificate in OpenSSL's notation.
  explicit WebServer(Script script, const std::string& names = "IP:127.0.0.1")
      : script_(std::move(script)), authority_(make_authority("web.example.com")) {
    std::signal(SIGPIPE, SIG_IGN);  // a client that has heard enough goes away
    const Issued server = issue_proxy(authority_, names);
    context_.reset(SSL_CTX_new(TLS_server_method()));
    require(context_ && SSL_CTX_use_certificate(context_.get(), server.certificate.get()) == 1 &&
                SSL_CTX_use_PrivateKey(context_.get(), server.key.get()) == 1,
            "web server");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(::bind(listener_, generic, length) == 0 && ::listen(listener_, 16) == 0 &&
                ::getsockname(listener_, generic, &length) == 0,
            "web server");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~WebServer() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    {
      // Wakes a handshake or a read that waits for a silent client.
      const std::scoped_lock lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    thread_.join();
    held_.clear();
    for (const int fd : open_) ::close(fd);
    ::close(listener_);
  }
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

  std::uint16_t port() const { return port_; }
  std::string ca_pem() const { return authority_.pem(); }
  int requests() const { return requests_; }

 private:
  using Ssl = std::unique_ptr<SSL, decltype(&SSL_free)>;

  void run() {
    while (!stopping_) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      {
        const std::scoped_lock lock(mutex_);
        open_.push_back(fd);
        if (stopping_) ::shutdown(fd, SHUT_RDWR);
      }
      Ssl ssl(SSL_new(context_.get()), SSL_free);
      SSL_set_fd(ssl.get(), fd);
      if (!serve(ssl.get(), fd)) {
        const std::scoped_lock lock(mutex_);
        std::erase(open_, fd);
        ::close(fd);
      } else {
        held_.push_back(std::move(ssl));
      }
    }
  }

  // Whether the connection is to be held open.
  bool serve(SSL* ssl, int fd) {
    if (SSL_accept(ssl) != 1) return false;
    std::string request;
    while (request.find("\r\n\r\n") == std::string::npos) {
      char block[4096];
      const int got = SSL_read(ssl, block, sizeof block);
      if (got <= 0) return false;
      request.append(block, static_cast<std::size_t>(got));
    }
    ++requests_;
    const Reply reply = script_(request);
    for (std::size_t at = 0; at < reply.bytes.size();) {
      const int put =
          SSL_write(ssl, reply.bytes.data() + at,
                    static_cast<int>(std::min<std::size_t>(reply.bytes.size() - at, 16384)));
      if (put <= 0) return false;
      at += static_cast<std::size_t>(put);
    }
    if (reply.end == End::hold) return true;
    if (reply.end == End::close) SSL_shutdown(ssl);
    const linger at_once{1, 0};
    if (reply.end == End::reset) ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return false;
  }

  Script script_;
  Issued authority_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requests_{0};
  std::mutex mutex_;
  std::vector<int> open_;  // guarded by mutex_
  std::vector<Ssl> held_;
  std::thread thread_;
};

}  // namespace kubelane_test

#include "tests/support/tls_client.hpp"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace support {
namespace {

using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;
using X509Ptr = std::unique_ptr<X509, decltype(&X509_free)>;

BioPtr text_bio(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free};
}

[[noreturn]] void fail(const std::string& what) {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  throw std::runtime_error(what + ": " + (reason != nullptr ? reason : std::strerror(errno)));
}

void limit_reads(int fd, std::chrono::milliseconds limit) {
  const timeval time{limit.count() / 1000, limit.count() % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

int connected_socket(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    throw std::runtime_error("cannot resolve " + host);
  }
  int fd = -1;
  for (const addrinfo* each = found; each != nullptr && fd < 0; each = each->ai_next) {
    fd = socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, each->ai_addr, each->ai_addrlen) != 0) {
      ::close(fd);
      fd = -1;
    }
  }
  freeaddrinfo(found);
  if (fd < 0) fail("connect to " + host + ":" + std::to_string(port));
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  limit_reads(fd, patience());
  const timeval time{patience().count() / 1000, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
  return fd;
}

void trust(SSL_CTX* context, const std::string& pem) {
  const BioPtr bio = text_bio(pem);
  for (;;) {
    const X509Ptr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
    if (!certificate) break;
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate.get());
  }
  ERR_clear_error();
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
}

// The first certificate as the leaf, further ones as its chain.
void present(SSL_CTX* context, const std::string& certificate_pem, const std::string& key_pem) {
  const BioPtr certificates = text_bio(certificate_pem);
  for (bool leaf = true;; leaf = false) {
    X509Ptr certificate(PEM_read_bio_X509(certificates.get(), nullptr, nullptr, nullptr),
                        X509_free);
    if (!certificate) break;
    if (leaf) {
      SSL_CTX_use_certificate(context, certificate.get());
    } else {
      SSL_CTX_add1_chain_cert(context, certificate.get());
    }
  }
  ERR_clear_error();
  const BioPtr bio = text_bio(key_pem);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) fail("client certificate");
}

bool same(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

std::pair<std::string, std::string> field(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) throw std::runtime_error("a field without a colon");
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  return {std::string(line.substr(0, colon)), std::string(value)};
}

}  // namespace

std::string Response::header(std::string_view name) const {
  for (const auto& [field_name, value] : headers) {
    if (same(field_name, name)) return value;
  }
  return "";
}

TlsClient::Descriptor::~Descriptor() {
  if (fd >= 0) ::close(fd);
}

TlsClient::TlsClient(const std::string& host, std::uint16_t port, const ClientOptions& options)
    : socket_(connected_socket(host, port)) {
  // Writing to a peer that has gone must be an error here, not a signal.
  std::signal(SIGPIPE, SIG_IGN);
  if (options.tls) start_tls(host, options);
}

TlsClient::~TlsClient() = default;

void TlsClient::start_tls(const std::string& host, const ClientOptions& options) {
  context_.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_CLIENT);
  if (!options.ca_pem.empty()) trust(context_.get(), options.ca_pem);
  if (!options.certificate_pem.empty()) {
    present(context_.get(), options.certificate_pem, options.key_pem);
  }
  ssl_.reset(SSL_new(context_.get()));
  std::string alpn;
  for (const auto& protocol : options.alpn) {
    alpn += static_cast<char>(protocol.size());
    alpn += protocol;
  }
  SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(alpn.data()),
                      static_cast<unsigned>(alpn.size()));
  if (!options.server_name.empty()) {
    SSL_set_tlsext_host_name(ssl_.get(), options.server_name.c_str());
    SSL_set1_host(ssl_.get(), options.server_name.c_str());
  } else if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), host.c_str()) != 1) {
    SSL_set1_host(ssl_.get(), host.c_str());
  }
  if (options.session) SSL_set_session(ssl_.get(), options.session.get());
  SSL_set_fd(ssl_.get(), socket_.fd);
  ERR_clear_error();
  if (SSL_connect(ssl_.get()) != 1) fail("TLS handshake");
}

void TlsClient::write(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t sent = 0;
    if (ssl_) {
      ERR_clear_error();
      sent = SSL_write(ssl_.get(), bytes.data(),
                       static_cast<int>(std::min<std::size_t>(bytes.size(), 1u << 20)));
    } else {
      sent = send(socket_.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    if (sent <= 0) fail("write");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::string TlsClient::read_some(std::size_t limit) {
  if (!buffer_.empty()) {
    std::string taken = buffer_.substr(0, limit);
    buffer_.erase(0, taken.size());
    return taken;
  }
  std::string block(limit, '\0');
  ssize_t got = 0;
  if (ssl_) {
    ERR_clear_error();
    got = SSL_read(ssl_.get(), block.data(), static_cast<int>(limit));
    if (got <= 0) {
      const int error = SSL_get_error(ssl_.get(), static_cast<int>(got));
      if (error == SSL_ERROR_ZERO_RETURN) return "";
      if (error == SSL_ERROR_WANT_READ) throw PatienceOver("read: the patience is over");
      fail("read");
    }
  } else {
    got = recv(socket_.fd, block.data(), limit, 0);
    if (got < 0 && errno == EAGAIN) throw PatienceOver("read: the patience is over");
    if (got < 0) fail("read");
  }
  block.resize(static_cast<std::size_t>(got));
  return block;
}

std::string TlsClient::read_exactly(std::size_t bytes) {
  std::string all;
  while (all.size() < bytes) {
    const std::string more = read_some(std::min<std::size_t>(bytes - all.size(), 64 * 1024));
    if (more.empty()) break;
    all += more;
  }
  return all;
}

std::string TlsClient::read_to_end() {
  std::string all;
  for (std::string more = read_some(); !more.empty(); more = read_some()) all += more;
  return all;
}

std::string TlsClient::read_until(std::string_view delimiter) {
  std::string all;
  for (;;) {
    const std::size_t found = all.find(delimiter);
    if (found != std::string::npos) {
      buffer_.insert(0, all, found + delimiter.size());
      all.resize(found + delimiter.size());
      return all;
    }
    const std::string more = read_some();
    if (more.empty()) throw std::runtime_error("the connection ended before the delimiter");
    all += more;
  }
}

Response TlsClient::read_response_head() {
  Response response;
  for (;;) {
    response.raw_head = read_until("\r\n\r\n");
    const std::string_view head = response.raw_head;
    if (!head.starts_with("HTTP/1.1 ") && !head.starts_with("HTTP/1.0 ")) {
      throw std::runtime_error("no HTTP answer: " + response.raw_head);
    }
    std::from_chars(head.data() + 9, head.data() + 12, response.status);
    if (response.status >= 200 || response.status == 101) break;
    response.interim.push_back(response.raw_head);
  }
  std::string_view rest = response.raw_head;
  rest.remove_prefix(rest.find("\r\n") + 2);
  while (rest != "\r\n") {
    const std::size_t end = rest.find("\r\n");
    response.headers.push_back(field(rest.substr(0, end)));
    rest.remove_prefix(end + 2);
  }
  return response;
}

void TlsClient::read_response_body(Response& response, bool head_request) {
  const int status = response.status;
  if (head_request || status == 101 || status == 204 || status == 304) {
    response.complete = true;
    return;
  }
  if (same(response.header("Transfer-Encoding"), "chunked")) {
    try {
      for (;;) {
        const std::string line = read_until("\r\n");
        response.raw_body += line;
        std::size_t size = 0;
        std::from_chars(line.data(), line.data() + line.size(), size, 16);
        if (size == 0) break;
        const std::string chunk = read_exactly(size + 2);
        response.raw_body += chunk;
        response.body += chunk.substr(0, size);
        if (chunk.size() < size + 2) return;
      }
      for (std::string line = read_until("\r\n"); line != "\r\n"; line = read_until("\r\n")) {
        response.raw_body += line;
        response.trailers.push_back(field(std::string_view(line).substr(0, line.size() - 2)));
      }
      response.raw_body += "\r\n";
      response.complete = true;
    } catch (const std::runtime_error&) {
      response.complete = false;  // cut off: what came stays readable
    }
    return;
  }
  const std::string length = response.header("Content-Length");
  if (!length.empty()) {
    std::size_t size = 0;
    std::from_chars(length.data(), length.data() + length.size(), size);
    response.body = response.raw_body = read_exactly(size);
    response.complete = response.body.size() == size;
    return;
  }
  response.body = response.raw_body = read_to_end();
  response.complete = true;
}

Response TlsClient::read_response(bool head_request) {
  Response response = read_response_head();
  read_response_body(response, head_request);
  return response;
}

bool TlsClient::readable(std::chrono::milliseconds limit) {
  if (!buffer_.empty() || (ssl_ && SSL_pending(ssl_.get()) > 0)) return true;
  pollfd ready{socket_.fd, POLLIN, 0};
  return poll(&ready, 1, static_cast<int>(limit.count())) > 0;
}

bool TlsClient::ended(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  // Records without application bytes make the socket readable and would block a read.
  limit_reads(socket_.fd, std::chrono::milliseconds(20));
  bool end = false;
  while (!end) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() < 0 || !readable(left)) break;
    try {
      end = read_some().empty();
    } catch (const PatienceOver&) {
      continue;
    } catch (const std::runtime_error&) {
      end = true;  // a reset, or an end without close_notify
    }
  }
  limit_reads(socket_.fd, patience());
  return end;
}

void TlsClient::half_close() {
  if (ssl_) SSL_shutdown(ssl_.get());
  shutdown(socket_.fd, SHUT_WR);
}

void TlsClient::finish() { shutdown(socket_.fd, SHUT_WR); }

void TlsClient::reset() {
  const linger at_once{1, 0};
  setsockopt(socket_.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(std::exchange(socket_.fd, -1));
}

void TlsClient::close() {
  if (ssl_) SSL_shutdown(ssl_.get());
  ::close(std::exchange(socket_.fd, -1));
}

int TlsClient::fd() const { return socket_.fd; }

bool TlsClient::resumed() const { return ssl_ && SSL_session_reused(ssl_.get()) == 1; }

std::string TlsClient::alpn() const {
  const unsigned char* name = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &length);
  return {reinterpret_cast<const char*>(name), length};
}

std::shared_ptr<SSL_SESSION> TlsClient::session() const {
  return {SSL_get1_session(ssl_.get()), SSL_SESSION_free};
}

}  // namespace support

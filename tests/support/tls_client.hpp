// A blocking client for tests that says exactly the bytes it is told, over TLS or plain TCP, and
// keeps exactly the bytes that came back. Every read has the patience of the tests.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <openssl/ssl.h>

#include "tests/support/eventually.hpp"

namespace support {

// A read got nothing for as long as the tests wait.
struct PatienceOver : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ClientOptions {
  bool tls = true;
  std::string ca_pem;       // verify against this; empty: no verification
  std::string server_name;  // SNI and verified name; empty: none sent, the IP is verified
  std::string certificate_pem;
  std::string key_pem;
  std::vector<std::string> alpn;
  std::shared_ptr<SSL_SESSION> session;  // to resume
};

struct Response {
  std::vector<std::string> interim;  // raw heads of 1xx answers before it (101 is final)
  int status = 0;
  std::string raw_head;  // final empty line included
  std::vector<std::pair<std::string, std::string>> headers;
  std::string raw_body;  // with its chunk framing and trailers
  std::string body;      // decoded
  std::vector<std::pair<std::string, std::string>> trailers;
  bool complete = false;  // false: the connection ended before the framing did

  std::string header(std::string_view name) const;  // first value, or empty
};

class TlsClient {
 public:
  // Throws std::runtime_error when the connection or the handshake fails.
  TlsClient(const std::string& host, std::uint16_t port, const ClientOptions& options = {});
  ~TlsClient();
  TlsClient(TlsClient&&) noexcept = default;
  TlsClient& operator=(TlsClient&&) = delete;

  void write(std::string_view bytes);  // throws std::runtime_error when the peer has gone
  // At least one byte; empty at a clean end. Throws std::runtime_error on a reset or when the
  // patience is over.
  std::string read_some(std::size_t limit = 64 * 1024);
  std::string read_exactly(std::size_t bytes);  // fewer only at the end
  std::string read_to_end();
  std::string read_until(std::string_view delimiter);
  // One answer by its framing. `head_request`: it has no body whatever its head says.
  Response read_response(bool head_request = false);
  // read_response() in two steps, for bodies that never end. Fills interim, status and headers.
  Response read_response_head();
  void read_response_body(Response& response, bool head_request = false);

  // Whether bytes or an end came within the time.
  bool readable(std::chrono::milliseconds limit = patience());
  // True when the peer ended or reset the connection within the time; drops bytes that come before.
  bool ended(std::chrono::milliseconds limit = patience());

  void half_close();  // close_notify and FIN; still reads
  void finish();      // FIN without close_notify; still reads
  void reset();       // RST
  void close();       // close_notify and close

  int fd() const;
  SSL* ssl() const { return ssl_.get(); }  // null for plain TCP
  bool resumed() const;
  std::string alpn() const;
  std::shared_ptr<SSL_SESSION> session() const;  // the newest; useful after a first read

 private:
  struct Descriptor {
    int fd = -1;
    explicit Descriptor(int number) : fd(number) {}
    Descriptor(Descriptor&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
    ~Descriptor();
  };
  void start_tls(const std::string& host, const ClientOptions& options);

  Descriptor socket_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
  std::string buffer_;
};

}  // namespace support

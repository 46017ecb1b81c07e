#include "tests/lab/client_hello.hpp"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <string_view>

#include <poll.h>
#include <sys/socket.h>

namespace lab {
namespace {

// Takes big-endian numbers and byte strings off the front; what is missing makes it bad.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}
  std::size_t number(int width) {
    std::size_t value = 0;
    for (const char c : take(static_cast<std::size_t>(width))) {
      value = (value << 8) | static_cast<unsigned char>(c);
    }
    return value;
  }
  std::string_view take(std::size_t count) {
    if (count > bytes_.size()) {
      good_ = false;
      bytes_ = {};
      return {};
    }
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  Cursor block(int width) { return Cursor(take(number(width))); }
  bool more() const { return good_ && !bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool good_ = true;
};

constexpr std::size_t kServerName = 0;
constexpr std::size_t kAlpn = 16;

void parse(ClientHello& hello, std::string_view handshake) {
  Cursor all(handshake);
  if (all.number(1) != 1) return;  // client_hello
  Cursor body = all.block(3);
  body.take(2 + 32);  // version, random
  body.block(1);      // session id
  body.block(2);      // cipher suites
  body.block(1);      // compression
  for (Cursor extensions = body.block(2); extensions.more();) {
    const std::size_t type = extensions.number(2);
    Cursor data = extensions.block(2);
    if (type == kServerName) {
      Cursor names = data.block(2);
      names.take(1);  // host_name
      hello.sni = names.take(names.number(2));
    } else if (type == kAlpn) {
      for (Cursor names = data.block(2); names.more();) {
        hello.alpn.emplace_back(names.take(names.number(1)));
      }
    }
  }
  hello.is_tls = true;
}

}  // namespace

ClientHello read_client_hello(int fd, int milliseconds) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::milliseconds(milliseconds);
  ClientHello hello;
  std::string handshake;  // payloads of the records, headers removed
  std::size_t at = 0;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{fd, POLLIN, 0};
    if (left <= 0) return hello;
    const int ready = poll(&wait, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return hello;
    char block[4096];
    const ssize_t got = recv(fd, block, sizeof block, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return hello;
    hello.bytes.append(block, static_cast<std::size_t>(got));
    if (hello.bytes[0] != 22) return hello;  // no TLS handshake record
    while (hello.bytes.size() >= at + 5) {
      const std::size_t length =
          static_cast<std::size_t>((static_cast<unsigned char>(hello.bytes[at + 3]) << 8) |
                                   static_cast<unsigned char>(hello.bytes[at + 4]));
      if (hello.bytes.size() < at + 5 + length) break;
      handshake.append(hello.bytes, at + 5, length);
      at += 5 + length;
    }
    if (handshake.size() >= 4) {
      const std::size_t whole = 4 + Cursor(std::string_view(handshake).substr(1)).number(3);
      if (handshake.size() >= whole) {
        parse(hello, handshake);
        return hello;
      }
    }
  }
}

}  // namespace lab

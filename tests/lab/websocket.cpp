#include "tests/lab/websocket.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <openssl/sha.h>

#include "tests/lab/base64.hpp"
#include "tests/lab/body_reader.hpp"

namespace lab {
namespace {

enum Opcode : std::uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10,
};
constexpr std::uint64_t kLargestMessage = 64 << 20;
constexpr int kStopCheck = 50;  // milliseconds

std::string accept_key(const std::string& key) {
  const std::string text = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455, 1.3
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest;
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return base64({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

}  // namespace

bool is_websocket_upgrade(const Request& request) {
  return request.method == "GET" && same_text(request.header("Upgrade"), "websocket") &&
         request.has("Sec-WebSocket-Key");
}

void accept_websocket(Stream& stream, const Request& request, std::string_view subprotocol) {
  std::string head =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: " +
      accept_key(request.header("Sec-WebSocket-Key")) + "\r\n";
  if (!subprotocol.empty()) head += "Sec-WebSocket-Protocol: " + std::string(subprotocol) + "\r\n";
  stream.write(head + "\r\n");
}

std::optional<std::string> WebSocket::read(const std::atomic<bool>& stop) {
  std::string message;
  for (;;) {
    while (!stream_.wait_readable(kStopCheck)) {
      if (stop) return std::nullopt;
    }
    auto frame = read_frame();
    if (!frame) return std::nullopt;
    switch (frame->opcode) {
      case kPing:
        write_frame(kPong, frame->payload);
        break;
      case kPong:
        break;
      case kClose:
        close(1000);
        return std::nullopt;
      case kContinuation:
      case kText:
      case kBinary:
        if (!fragments_ && (!frame->final || frame->opcode == kContinuation))
          throw ConnectionLost{"WebSocket: a message in several frames"};
        message += frame->payload;
        if (message.size() > kLargestMessage) throw ConnectionLost{"WebSocket: immense message"};
        if (frame->final) return message;
        break;
      default:
        throw ConnectionLost{"WebSocket: unknown opcode"};
    }
  }
}

std::optional<WebSocket::Frame> WebSocket::read_frame() {
  std::array<unsigned char, 14> head;
  char* const into = reinterpret_cast<char*>(head.data());
  if (stream_.read(into, 1) == 0) return std::nullopt;
  stream_.read_exactly(into + 1, 1);
  Frame frame;
  frame.final = (head[0] & 0x80) != 0;
  frame.opcode = head[0] & 0x0f;
  if ((head[1] & 0x80) == 0) throw ConnectionLost{"WebSocket: a client's frame without a mask"};
  std::uint64_t length = head[1] & 0x7f;
  if (const std::size_t more = length == 126 ? 2 : length == 127 ? 8 : 0; more > 0) {
    stream_.read_exactly(into, more);
    length = 0;
    for (std::size_t i = 0; i < more; ++i) length = length << 8 | head[i];
  }
  if (length > kLargestMessage) throw ConnectionLost{"WebSocket: immense frame"};
  std::array<char, 4> mask;
  stream_.read_exactly(mask.data(), mask.size());
  frame.payload.resize(static_cast<std::size_t>(length));
  stream_.read_exactly(frame.payload.data(), frame.payload.size());
  for (std::size_t i = 0; i < frame.payload.size(); ++i) {
    frame.payload[i] = static_cast<char>(frame.payload[i] ^ mask[i % mask.size()]);
  }
  return frame;
}

void WebSocket::write_frame(std::uint8_t opcode, std::string_view payload) {
  std::string frame(1, static_cast<char>(0x80 | opcode));
  const std::size_t size = payload.size();
  if (size < 126) {
    frame += static_cast<char>(size);
  } else {
    const int bytes = size < 65'536 ? 2 : 8;
    frame += static_cast<char>(bytes == 2 ? 126 : 127);
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
      frame += static_cast<char>((size >> shift) & 0xff);
    }
  }
  frame += payload;
  const std::scoped_lock lock(write_mutex_);
  if (closed_) return;
  closed_ = opcode == kClose;
  stream_.write(frame);
}

void WebSocket::write(std::string_view message) { write_frame(kBinary, message); }

void WebSocket::close(std::uint16_t code) {
  const std::array<char, 2> payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
  write_frame(kClose, {payload.data(), payload.size()});
}

void WebSocketStream::close_write() { socket_.close(1000); }

bool WebSocketStream::wait_readable(int milliseconds) {
  return buffered() || !rest_.empty() || socket_.wait_readable(milliseconds);
}

std::size_t WebSocketStream::read_some(char* into, std::size_t bytes) {
  static const std::atomic<bool> kNever{false};
  while (rest_.empty()) {
    auto message = socket_.read(kNever);
    if (!message) return 0;
    rest_ = std::move(*message);
  }
  const std::size_t taken = std::min(bytes, rest_.size());
  std::memcpy(into, rest_.data(), taken);
  rest_.erase(0, taken);
  return taken;
}

}  // namespace lab

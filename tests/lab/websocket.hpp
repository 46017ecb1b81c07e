// The server's side of a WebSocket (RFC 6455): the handshake's key, messages, and a byte stream of
// binary messages for protocols that are tunnelled through one.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "tests/lab/http.hpp"

namespace lab {

bool is_websocket_upgrade(const Request& request);
// Sends the 101 with that subprotocol, or without one when it is empty.
void accept_websocket(Stream& stream, const Request& request, std::string_view subprotocol);

class WebSocket {
 public:
  // After accept_websocket(). `stream` must outlive this.
  explicit WebSocket(Stream& stream) : stream_(stream) {}

  // The next whole text or binary message; pings are answered on the way. Nothing after the
  // client's Close or when `stop` became true. Throws ConnectionLost. For one thread.
  std::optional<std::string> read(const std::atomic<bool>& stop);
  // For any thread. Throw ConnectionLost.
  void write(std::string_view message);
  void close(std::uint16_t code);  // at most one Close is sent

  // A message must be one frame.
  void forbid_fragments() { fragments_ = false; }
  bool wait_readable(int milliseconds) { return stream_.wait_readable(milliseconds); }

 private:
  struct Frame {
    std::uint8_t opcode = 0;
    bool final = false;
    std::string payload;
  };
  std::optional<Frame> read_frame();
  void write_frame(std::uint8_t opcode, std::string_view payload);

  Stream& stream_;
  std::mutex write_mutex_;  // frames stay whole; closed_
  bool closed_ = false;
  bool fragments_ = true;
};

// Bytes in, bytes out: message borders mean nothing.
class WebSocketStream final : public Stream {
 public:
  explicit WebSocketStream(Stream& stream) : stream_(stream), socket_(stream) {}

  void close_write() override;
  void reset() override { stream_.reset(); }
  // True also for a control frame: a read may then still block.
  bool wait_readable(int milliseconds) override;

 protected:
  std::size_t read_some(char* into, std::size_t bytes) override;
  void write_all(std::string_view bytes) override { socket_.write(bytes); }

 private:
  Stream& stream_;
  WebSocket socket_;
  std::string rest_;  // of the message that is being read
};

}  // namespace lab

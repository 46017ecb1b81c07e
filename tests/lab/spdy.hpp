// The server's side of a SPDY/3.1 connection, as Kubernetes uses it after an upgrade: the client
// opens streams, both sides send DATA on them. Without flow control, like the library on the other
// side: TCP's is the only back pressure.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/lab/http.hpp"
#include "tests/lab/spdy_headers.hpp"

namespace lab {

class SpdyConnection {
 public:
  struct Event {
    enum class Kind { opened, data, reset };
    Kind kind = Kind::opened;
    std::uint32_t stream = 0;
    SpdyHeaders headers;  // of opened
    std::string data;
    bool last = false;  // the client sends nothing more on this stream

    std::string header(std::string_view name) const;
  };

  // `stream` must outlive this.
  explicit SpdyConnection(Stream& stream) : stream_(stream) {}

  // The next event that concerns a stream; PING is answered on the way. Nothing when the client has
  // ended, sent GOAWAY or broken the protocol, or when `stop` became true. For one thread.
  std::optional<Event> next(const std::atomic<bool>& stop);

  // For any thread. Throw ConnectionLost.
  void accept(std::uint32_t stream);  // SYN_REPLY
  void send(std::uint32_t stream, std::string_view data, bool last = false);
  void reset(std::uint32_t stream, std::uint32_t status);

 private:
  std::optional<Event> read_frame(bool& ended);
  void write_control(std::uint16_t type, std::uint8_t flags, std::string_view payload);

  Stream& stream_;
  SpdyHeaderReader header_reader_;
  std::mutex write_mutex_;  // frames stay whole; header_writer_
  SpdyHeaderWriter header_writer_;
  std::uint32_t newest_ = 0;
};

}  // namespace lab

// What the lab's HTTP/2 says about itself, and how it misbehaves on command: state that its
// connections look at all the time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "tests/lab/h2_frames.hpp"

namespace lab {

// Defaults are Go's, since the Teleport Proxy is written in Go. Read when a connection starts.
struct H2Settings {
  std::atomic<std::uint32_t> max_concurrent_streams{250};
  std::atomic<std::uint32_t> stream_window{1 << 20};
  std::atomic<std::uint32_t> connection_window{1 << 20};
  std::atomic<std::uint32_t> max_frame_size{1 << 20};
  std::atomic<std::uint32_t> max_header_list_size{(1 << 20) + 320};
  std::atomic<std::uint32_t> header_table_size{4096};
};

struct H2Faults {
  std::atomic<bool> reading{true};        // false: nothing is read off the socket
  std::atomic<bool> writing{true};        // false: nothing is written
  std::atomic<bool> giving_credit{true};  // false: no WINDOW_UPDATE for what was received
  // The connection's window is opened on receipt, not when a handler reads: a handler that stops
  // stalls its own stream only. Go waits for the handler.
  std::atomic<bool> connection_credit_on_receipt{true};
  std::atomic<bool> answering_pings{true};
  std::atomic<bool> sending_preface{true};  // false: a new connection says nothing until it is true
  std::atomic<int> delay_ms{0};             // each way, as of a long link
  std::atomic<std::size_t> streams_to_refuse{0};
  std::atomic<std::uint32_t> refusal_code{h2::error_code::refused_stream};
};

struct H2GoAway {
  enum class Kind {
    // A notice with the highest stream id first, the real one a round trip later; running streams
    // and those that come in between are served, then the connection closes.
    graceful,
    now,        // running streams are served, then the connection closes
    terminate,  // the connection closes as soon as the frame has left
  };
  Kind kind = Kind::graceful;
  std::uint32_t code = h2::error_code::no_error;
  // Streams above are declared unprocessed and end here too. Nothing: the last one that came.
  std::optional<std::int32_t> last_stream;
  std::string debug;
};

}  // namespace lab

// Exec and attach over the two transports of Kubernetes: v4.channel.k8s.io on SPDY/3.1 streams, v4
// and v5.channel.k8s.io on WebSocket messages.
#pragma once

#include <atomic>
#include <memory>

#include "tests/lab/exec_channels.hpp"
#include "tests/lab/http.hpp"

namespace lab {

struct ExecStreams {
  bool input = false;
  bool output = false;
  bool error = false;
  bool terminal = false;
};

// Sends the 101 and waits for the client's streams; null when the client goes before they came.
// `stream` and `stop` must outlive the result. Throws ConnectionLost.
std::unique_ptr<ExecChannels> exec_over_spdy(Stream& stream, const ExecStreams& wanted,
                                             const std::atomic<bool>& stop);

// `subprotocol` is v4.channel.k8s.io or v5.channel.k8s.io. Sends the 101.
std::unique_ptr<ExecChannels> exec_over_websocket(Stream& stream, const Request& request,
                                                  std::string_view subprotocol,
                                                  const ExecStreams& wanted,
                                                  const std::atomic<bool>& stop);

}  // namespace lab

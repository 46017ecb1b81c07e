// Sockets that listen on loopback, and keep their port while they do not.
#pragma once

#include <cstdint>

#include "tests/lab/tls_stream.hpp"

namespace lab {

inline constexpr int kBacklog = 512;

// Listens on 127.0.0.1; port 0 becomes a free one. Bound to the port by its number, if need be
// after a free one was found: only such a binding outlives the end of listening, so that the port
// stays ours while connections are refused. Throws std::runtime_error.
Socket listening_socket(std::uint16_t& port);

// A connection to a port of loopback; empty when it is refused.
Socket connect_to(std::uint16_t port);

}  // namespace lab

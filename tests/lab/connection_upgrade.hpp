// The Proxy's /webapi/connectionupgrade: TLS in the binary messages of a WebSocket, fed to the same
// port as TLS that came by itself (data-path spec 4).
#pragma once

#include <cstdint>

#include "tests/lab/http.hpp"

namespace lab {

// Answers the request, then moves bytes until either side ends. What Teleport would drop silently,
// a message in several frames, ends the connection here.
void serve_connection_upgrade(Stream& stream, const Request& request, std::uint16_t port);

}  // namespace lab

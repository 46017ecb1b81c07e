// Port-forward over SPDY/3.1 streams: a pair of streams for each connection. The "pod" has echo on
// port 7, 64 MiB of bytes on port 19 and a small HTTP service on 80 and 8080; other ports refuse.
#pragma once

#include <atomic>
#include <string>

#include "tests/lab/http.hpp"

namespace lab {

// After the upgrade, until the client has ended or `stop` became true.
void serve_port_forward(Stream& stream, const std::string& pod, const std::atomic<bool>& stop);

}  // namespace lab

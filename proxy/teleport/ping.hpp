// GET /webapi/ping on the Proxy's web address: one request, one bounded answer, one deadline.
// Control thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "proxy/teleport/target.hpp"
#include "tls/openssl.hpp"

namespace kubelane::teleport {

struct PingOptions {
  HostPort address;     // of the Proxy's web listener
  std::string ca_file;  // PEM; empty: the system's roots
  bool insecure = false;
};

// Calls `done` once, on the io_context, at the latest after 10 s. A Failure is one sentence with
// cause and remedy.
void ping(boost::asio::io_context& io, const PingOptions& options,
          std::function<void(Outcome<PingReply>)> done);

}  // namespace kubelane::teleport

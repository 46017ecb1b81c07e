// Reads a ClientHello off a socket before TLS starts, as Teleport's multiplexer does: SNI decides
// which service gets the connection (data-path spec 2.2).
#pragma once

#include <string>
#include <vector>

namespace lab {

struct ClientHello {
  std::string bytes;  // everything read so far; TLS must see it again
  std::string sni;
  std::vector<std::string> alpn;
  bool is_tls = false;  // false: the peer ended first or speaks something else
};

// Blocks until the hello is complete, the peer ends or `milliseconds` have passed without it.
ClientHello read_client_hello(int fd, int milliseconds);

}  // namespace lab

// The listening socket of the diagnostics or the admin listener: a port, or a unix socket that its
// owner alone may use.
#pragma once

#include <string>

#include "config/config.hpp"
#include "config/result.hpp"
#include "tls/socket.hpp"

namespace kubelane::admin {

struct ControlSocket {
  tls::UniqueFd fd;
  std::string address;    // for logs: 127.0.0.1:3001, unix:///run/kubelane/admin.sock
  std::string unix_path;  // to be removed at the end; empty: a port
};

// Binds and listens, without waiting. A unix socket gets mode 0600 before it has a name; one that a
// dead process left is replaced, one that somebody listens on is a Failure, as is a path that is
// anything else than a socket. `purpose` names the setting in messages.
Outcome<ControlSocket> open_control_socket(const ControlAddress& address,
                                           const std::string& purpose);

}  // namespace kubelane::admin

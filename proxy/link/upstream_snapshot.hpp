// What the control plane knows about one service's way to its clusters: identity, address, names.
// Immutable; published by the control thread, read by the workers. Relay and teleport meet here.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sys/socket.h>

#include "tls/identity.hpp"

namespace kubelane::link {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// Where the Proxy's Kubernetes listener is and what to call it (data-path spec 1.5, 2.2).
struct UpstreamTarget {
  std::string host;  // dialled name or IP literal
  std::uint16_t port = 0;
  std::string server_name;       // name to verify; sent as SNI unless it is an IP literal
  std::string authority;         // Host header toward the Proxy: host, with :port unless it is 443
  std::string teleport_cluster;  // where the route leads; from the certificate, known as soon as
                                 // credentials are, even when they cannot be used now
  bool path_routing = false;     // the Proxy understands /v1/teleport/... (>= 17.2.7) and the
                                 // certificate needs it
};

// Of which kind the problem of a snapshot is.
enum class Trouble : std::uint8_t {
  none,
  starting,        // nothing has failed yet: it is being looked up
  no_credentials,  // none usable
  expired,         // they were not renewed in time
  clock_skew,      // they are not valid yet by this machine's clock
  unfit,           // they are not for what is configured, or not for this Proxy
  no_route,        // the Proxy's settings or address cannot be had
};

struct UpstreamSnapshot {
  std::uint64_t generation = 0;  // grows with every publication of this service
  tls::IdentityPtr identity;     // null: none usable
  UpstreamTarget target;
  std::vector<SocketAddress> addresses;  // in order of preference; empty: not resolved
  // Why requests cannot be served now; empty when they can. A sentence without the cluster's name,
  // e.g. "no credentials in /opt/machine-id yet (identity: no such file): is tbot running?"
  std::string problem;
  Trouble trouble = Trouble::none;  // of the same
  std::chrono::system_clock::time_point problem_since{};
  std::string remedy;  // what to do when the identity expires and no newer snapshot comes
};
using UpstreamSnapshotPtr = std::shared_ptr<const UpstreamSnapshot>;

}  // namespace kubelane::link

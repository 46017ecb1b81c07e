// One local listener as the workers see it: how clients authenticate and which cluster a path
// means. Immutable; replaced as a whole when the clusters change or the server certificate renews.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/config.hpp"
#include "config/result.hpp"
#include "proxy/link/upstream_snapshot.hpp"
#include "proxy/relay/impersonation.hpp"
#include "tls/openssl.hpp"

namespace kubelane::relay {

// One Kubernetes cluster behind one service.
struct Route {
  std::string cluster;
  std::string local_prefix;       // "/prod"; empty on a listener of its own
  std::size_t service = 0;        // its number, never used twice
  std::size_t upstream = 0;       // the way there: index of a worker's pools
  std::string teleport_cluster;   // of the prefix below; empty: not known yet
  std::string upstream_prefix;    // /v1/teleport/x/y, for path routing
  std::size_t meter = 0;          // index of a worker's route meters
  std::uint64_t meter_owner = 0;  // whose the meter is: slots are used again
  Impersonation impersonation;    // for requests that name none
};

// What goes before the client's path on a connection to this target; may use `storage`.
std::string_view upstream_prefix(const Route& route, const link::UpstreamTarget& target,
                                 std::string& storage);

// Why there is no route for a path.
struct NoRoute {
  Code code = Code::unknown_route;
  std::string message;
};

struct Listener {
  std::string address;               // host:port it listens on, for logs
  std::shared_ptr<SSL_CTX> context;  // null: plain HTTP
  LocalAuth auth = LocalAuth::token;
  std::string token;                       // for LocalAuth::token
  std::vector<std::string> allowed_hosts;  // lower case, without port
  bool any_ip_host = false;                // allow_remote: an IP literal as Host cannot be rebound
  std::vector<std::size_t> upstreams;      // behind it: indexes of a worker's pools
  std::vector<Route> routes;               // one with an empty prefix, or several with prefixes
  std::unordered_map<std::string, std::size_t> by_segment;  // "prod" -> index into routes
  std::unordered_map<std::string, std::string> absent;  // "old" -> why it is not served (any more)
  std::string waiting_for;  // why clusters may still be missing; empty: the list is known
  bool closing = false;     // nothing is accepted any more: connections finish what they do and end

  // The route of a path, or null. `strip_bytes`: how much of the path is the local prefix. The only
  // cluster of a listener also answers without its prefix: `kubectl get --raw` drops the path of
  // `server:`.
  const Route* find(std::string_view path, std::size_t& strip_bytes) const;
  // Of a path for which there is none.
  NoRoute explain(std::string_view path) const;
};
using ListenerPtr = std::shared_ptr<const Listener>;

}  // namespace kubelane::relay

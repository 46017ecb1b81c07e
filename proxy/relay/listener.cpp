#include "proxy/relay/listener.hpp"

#include <algorithm>

#include "proxy/http/route_path.hpp"

namespace kubelane::relay {

std::string_view upstream_prefix(const Route& route, const link::UpstreamTarget& target,
                                 std::string& storage) {
  if (!target.path_routing) return {};
  if (target.teleport_cluster == route.teleport_cluster) return route.upstream_prefix;
  storage = http::teleport_prefix(target.teleport_cluster, route.cluster);
  return storage;
}

const Route* Listener::find(std::string_view path, std::size_t& strip_bytes) const {
  strip_bytes = 0;
  const bool alone = routes.size() == 1 && absent.empty() && waiting_for.empty();
  if (alone) {  // the common case without hashing
    const std::string& prefix = routes.front().local_prefix;
    if (path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/'))
      strip_bytes = prefix.size();
    if (strip_bytes > 0 || prefix.empty()) return &routes.front();
  }
  if (const auto segment = http::first_segment(path)) {
    const auto found = by_segment.find(segment->name);
    if (found != by_segment.end()) {
      strip_bytes = segment->length;
      return &routes[found->second];
    }
  }
  return alone ? &routes.front() : nullptr;
}

NoRoute Listener::explain(std::string_view path) const {
  if (const auto segment = http::first_segment(path)) {
    const auto gone = absent.find(segment->name);
    if (gone != absent.end()) return {Code::unknown_route, gone->second};
  }
  if (routes.empty() && absent.size() == 1) return {Code::unknown_route, absent.begin()->second};
  if (!waiting_for.empty()) return {Code::no_identity, waiting_for};
  const std::size_t end = path.find('/', 1);
  std::string message = "kubelane serves no cluster at " +
                        std::string(path.substr(0, std::min<std::size_t>(end, 200))) +
                        "; configured: ";
  std::size_t named = 0;
  for (const Route& route : routes) {
    if (named == 20) {
      message += ", and " + std::to_string(routes.size() - named) + " more";
      break;
    }
    if (named++ > 0) message += ", ";
    message += route.local_prefix;
  }
  return {Code::unknown_route, message +
                                   ". Use the server URL from kubelane's kubeconfig; with "
                                   "`kubectl get --raw`, put the cluster's path before the rest."};
}

}  // namespace kubelane::relay

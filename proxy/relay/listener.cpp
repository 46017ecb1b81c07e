#include "proxy/relay/listener.hpp"

#include "proxy/http/route_path.hpp"

namespace kubelane::relay {

const Route* Listener::find(std::string_view path, std::size_t& strip_bytes) const {
  strip_bytes = 0;
  if (routes.size() == 1) {  // the common case without hashing
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
  return routes.size() == 1 ? &routes.front() : nullptr;
}

}  // namespace kubelane::relay

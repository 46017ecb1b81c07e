// Paths of clusters: a name and its path belong to each other, one to one, whatever its bytes; and
// no path makes the readers fail.
// Input: two names, or a path, separated by the first NUL.
#include <cstdint>
#include <string>

#include "proxy/http/route_path.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

using namespace kubelane::http;
using kubelane::fuzz::require;

int hex(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The reverse of local_prefix(), which the product does not need.
std::string name_of(std::string_view path) {
  require(path.starts_with('/'), "a prefix is a path");
  std::string cluster;
  for (std::size_t i = 1; i < path.size(); ++i) {
    if (path[i] != '~') {
      cluster += path[i];
      continue;
    }
    require(i + 2 < path.size() && hex(path[i + 1]) >= 0 && hex(path[i + 2]) >= 0,
            "an escape has two upper-case digits");
    cluster += static_cast<char>(hex(path[i + 1]) * 16 + hex(path[i + 2]));
    i += 2;
  }
  return cluster;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const std::string_view first = input.substr(0, end);
  const std::string_view second = end == input.npos ? std::string_view{} : input.substr(end + 1);

  const std::string path = local_prefix(first);
  require(name_of(path) == first, "a path names its cluster");
  require(path.find('/', 1) == path.npos && path.find_first_of("%?#;\\") == path.npos,
          "a prefix is one plain segment");
  require(path != "/." && path != "/..", "no segment means here or up");
  if (!first.empty()) {
    const auto segment = first_segment(path + "/api");
    require(segment && segment->name == path.substr(1) && segment->length == path.size(),
            "a prefix is found as it was given out");
  }

  if (const auto segment = first_segment(input)) {
    require(segment->length >= 2 && segment->length <= input.size(),
            "the segment lies in the path");
    require(segment->length == input.size() || input[segment->length] == '/',
            "the segment ends at a slash");
    require(!segment->name.empty() && segment->name.size() < segment->length,
            "decoding does not add");
  }

  const auto back = parse_teleport_prefix(teleport_prefix(first, second) + "/api");
  require(back.has_value() == (!first.empty() && !second.empty()), "a route has two names");
  if (back)
    require(back->teleport_cluster == first && back->kube_cluster == second, "the same two names");
  if (const auto route = parse_teleport_prefix(input)) {
    const auto again =
        parse_teleport_prefix(teleport_prefix(route->teleport_cluster, route->kube_cluster));
    require(again && again->teleport_cluster == route->teleport_cluster &&
                again->kube_cluster == route->kube_cluster,
            "reading and writing agree");
  }
  return 0;
}

// The path of a cluster on the shared listener, and Teleport's path route.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace kubelane::http {

// "/" + the cluster's name, readable and stable. Bytes other than letters, digits and `. _ - :` are
// written as `~XX` (upper-case hex), as are a leading dot and a name of dots only. No
// percent-escapes: client-go decodes the path of `server:` and loses them. Distinct names give
// distinct paths. Example: arn:aws:eks:eu-west-1:1:cluster/prod ->
// /arn:aws:eks:eu-west-1:1:cluster~2Fprod
std::string local_prefix(std::string_view cluster);

// First segment of a request path. `length` counts the leading '/' and the segment as it stands;
// `name` is the segment percent-decoded once (a client may write ':' as %3A), std::nullopt when
// the path does not start with '/', is empty or the escapes are broken.
struct FirstSegment {
  std::string name;
  std::size_t length = 0;
};
std::optional<FirstSegment> first_segment(std::string_view path);

// /v1/teleport/<b64url(teleport cluster)>/<b64url(kube cluster)>, unpadded (data-path spec 3).
std::string teleport_prefix(std::string_view teleport_cluster, std::string_view kube_cluster);

// The reverse, for the server paths of tbot's kubeconfig: names, or nullopt.
struct TeleportRoute {
  std::string teleport_cluster;
  std::string kube_cluster;
};
std::optional<TeleportRoute> parse_teleport_prefix(std::string_view path);

}  // namespace kubelane::http

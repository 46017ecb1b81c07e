// Where the Proxy's Kubernetes listener is: from a ping reply, or offline from tbot's kubeconfig.
// Pure functions (data-path spec 1.5, 2.1, 2.2, 3).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.hpp"
#include "proxy/link/upstream_snapshot.hpp"

namespace kubelane::teleport {

struct HostPort {
  std::string host;  // IPv6 without brackets
  std::uint16_t port = 0;
};
// "host", "host:port", "[v6]:port", "v6". False: malformed.
bool parse_host_port(std::string_view text, std::uint16_t default_port, HostPort& out);
std::string to_string(const HostPort& address, std::uint16_t hidden_port);

// What matters of /webapi/ping and /webapi/find; unknown fields are ignored.
struct PingReply {
  std::string cluster_name;
  std::string server_version;
  bool tls_routing = false;
  bool kube_enabled = true;
  std::string web_public_addr;  // proxy.ssh.public_addr: the web address, whatever its name says
  std::string kube_public_addr;
  std::string kube_listen_addr;
};
Outcome<PingReply> parse_ping(std::string_view body);

// Semantic version, optional leading v, pre-release and build suffix. Path routing came with 17.2.7
// (DP 0.1); pre-releases of 17.2.7 itself are older than it.
bool supports_path_routing(std::string_view server_version);

// tls-server-name of TLS routing: kube-teleport-proxy-alpn.<host>, or .teleport.cluster.local for
// an empty host, localhost and IP literals.
std::string kube_server_name(std::string_view host);

// The kube address in tbot's order: TLS routing, kube public address, kube listen port.
// `proxy_server` is the address that was pinged; it stands in for a missing public address.
// `use_proxy_address`: TBOT_USE_PROXY_ADDR=yes. Leaves teleport_cluster and path_routing unset.
Outcome<link::UpstreamTarget> choose_target(const PingReply& reply, const HostPort& proxy_server,
                                            bool use_proxy_address);

// The same from the kubeconfig.yaml that tbot wrote into the credentials directory. path_routing is
// true when its server paths are Teleport routes.
Outcome<link::UpstreamTarget> target_from_kubeconfig(const std::string& yaml);

}  // namespace kubelane::teleport

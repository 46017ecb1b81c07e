#include "proxy/teleport/target.hpp"

#include <array>
#include <charconv>

#include <arpa/inet.h>
#include <boost/json.hpp>
#include <yaml-cpp/yaml.h>

#include "proxy/http/route_path.hpp"

namespace kubelane::teleport {
namespace {

namespace json = boost::json;

constexpr std::uint16_t web_port = 443;
constexpr std::uint16_t kube_port = 3026;

// A zone (%eth0) may follow.
bool is_ipv6(std::string_view host) {
  in6_addr address{};
  return ::inet_pton(AF_INET6, std::string(host.substr(0, host.find('%'))).c_str(), &address) == 1;
}

bool is_ip_literal(const std::string& host) {
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 || is_ipv6(host);
}

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr || !found->is_string()) return {};
  const json::string& text = found->get_string();
  return {text.data(), text.size()};
}

const json::object* object_at(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found == nullptr ? nullptr : found->if_object();
}

bool true_at(const json::object& object, std::string_view key, bool otherwise) {
  const json::value* found = object.if_contains(key);
  return found != nullptr && found->is_bool() ? found->get_bool() : otherwise;
}

Failure no_address(const std::string& why) { return {Code::config, why}; }

}  // namespace

bool parse_host_port(std::string_view text, std::uint16_t default_port, HostPort& out) {
  std::string_view host = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return false;
    host = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return false;
    port = rest.empty() ? rest : rest.substr(1);
    if (!rest.empty() && port.empty()) return false;
    if (!is_ipv6(host)) return false;
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    if (text.find(':', colon + 1) == std::string_view::npos) {
      host = text.substr(0, colon);
      port = text.substr(colon + 1);
      if (port.empty()) return false;
    } else if (!is_ipv6(host)) {
      return false;
    }
  }
  if (host.empty()) return false;
  for (const char c : host)
    if (static_cast<unsigned char>(c) <= 0x20 || c == '/' || c == '@' || c == '?') return false;
  out.host = host;
  out.port = default_port;
  if (!port.empty()) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), value);
    if (error != std::errc() || end != port.data() + port.size() || value == 0 || value > 65535)
      return false;
    out.port = static_cast<std::uint16_t>(value);
  }
  return true;
}

std::string to_string(const HostPort& address, std::uint16_t hidden_port) {
  std::string text =
      address.host.find(':') == std::string::npos ? address.host : "[" + address.host + "]";
  if (address.port != hidden_port) text += ":" + std::to_string(address.port);
  return text;
}

Outcome<PingReply> parse_ping(std::string_view body) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 32;
  const json::value value = json::parse(body, error, {}, options);
  const json::object* root = error ? nullptr : value.if_object();
  if (root == nullptr)
    return Failure{Code::bad_body,
                   "the reply to /webapi/ping is not JSON; is proxy_server a "
                   "Teleport Proxy?"};
  PingReply reply;
  reply.cluster_name = text_at(*root, "cluster_name");
  reply.server_version = text_at(*root, "server_version");
  const json::object* proxy = object_at(*root, "proxy");
  if (proxy == nullptr)
    return Failure{Code::bad_body,
                   "the reply to /webapi/ping has no proxy settings; is "
                   "proxy_server a Teleport Proxy?"};
  reply.tls_routing = true_at(*proxy, "tls_routing_enabled", false);
  if (const json::object* ssh = object_at(*proxy, "ssh"))
    reply.web_public_addr = text_at(*ssh, "public_addr");
  if (const json::object* kube = object_at(*proxy, "kube")) {
    reply.kube_enabled = true_at(*kube, "enabled", true);
    reply.kube_public_addr = text_at(*kube, "public_addr");
    reply.kube_listen_addr = text_at(*kube, "listen_addr");
  }
  return reply;
}

bool supports_path_routing(std::string_view version) {
  constexpr std::array<unsigned, 3> since = {17, 2, 7};
  if (version.starts_with('v')) version.remove_prefix(1);
  for (std::size_t i = 0; i < since.size(); ++i) {
    unsigned part = 0;
    const auto [end, error] =
        std::from_chars(version.data(), version.data() + version.size(), part);
    if (error != std::errc()) return false;
    version.remove_prefix(static_cast<std::size_t>(end - version.data()));
    if (part != since[i]) return part > since[i];
    if (i + 1 < since.size()) {
      if (!version.starts_with('.')) return false;
      version.remove_prefix(1);
    }
  }
  return !version.starts_with('-');
}

std::string kube_server_name(std::string_view host) {
  const std::string name(host);
  if (name.empty() || name == "localhost" || is_ip_literal(name))
    return "kube-teleport-proxy-alpn.teleport.cluster.local";
  std::string lower = name;  // the Proxy compares the prefix case-sensitively
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  return "kube-teleport-proxy-alpn." + lower;
}

Outcome<link::UpstreamTarget> choose_target(const PingReply& reply, const HostPort& proxy_server,
                                            bool use_proxy_address) {
  HostPort web = proxy_server;
  if (!use_proxy_address && !reply.web_public_addr.empty() &&
      !parse_host_port(reply.web_public_addr, web_port, web))
    return no_address("the Proxy announces an unusable public address \"" +
                      reply.web_public_addr.substr(0, 200) + "\"");
  link::UpstreamTarget target;
  HostPort address = web;
  if (reply.tls_routing) {
    target.server_name = kube_server_name(web.host);
  } else if (!reply.kube_public_addr.empty()) {
    if (!parse_host_port(reply.kube_public_addr, kube_port, address))
      return no_address("the Proxy announces an unusable Kubernetes address \"" +
                        reply.kube_public_addr.substr(0, 200) + "\"");
    target.server_name = address.host;
  } else if (!reply.kube_listen_addr.empty()) {
    HostPort listen;
    const std::string text = reply.kube_listen_addr.starts_with(':')
                                 ? "0.0.0.0" + reply.kube_listen_addr
                                 : reply.kube_listen_addr;
    if (!parse_host_port(text, kube_port, listen))
      return no_address("the Proxy announces an unusable Kubernetes listen address \"" +
                        reply.kube_listen_addr.substr(0, 200) + "\"");
    address.port = listen.port;
    target.server_name = address.host;
  } else {
    return no_address(
        "the Proxy announces no Kubernetes address (neither TLS routing nor a kube address); "
        "enable "
        "Kubernetes access on the Teleport Proxy");
  }
  target.host = address.host;
  target.port = address.port;
  target.authority = to_string(address, web_port);
  return target;
}

Outcome<link::UpstreamTarget> target_from_kubeconfig(const std::string& yaml) {
  const Failure unusable{Code::io, "tbot's kubeconfig.yaml names no usable server"};
  try {
    const YAML::Node root = YAML::Load(yaml);
    for (const YAML::Node& entry : root["clusters"]) {
      const YAML::Node cluster = entry["cluster"];
      std::string_view server = cluster["server"].Scalar();
      constexpr std::string_view scheme = "https://";
      if (!server.starts_with(scheme)) continue;
      server.remove_prefix(scheme.size());
      const std::size_t slash = server.find('/');
      const std::string_view path =
          slash == std::string_view::npos ? std::string_view{} : server.substr(slash);
      HostPort address;
      if (!parse_host_port(server.substr(0, slash), web_port, address)) continue;
      link::UpstreamTarget target;
      target.host = address.host;
      target.port = address.port;
      target.authority = to_string(address, web_port);
      target.path_routing = http::parse_teleport_prefix(path).has_value();
      const YAML::Node name = cluster["tls-server-name"];
      target.server_name =
          name && name.IsScalar() && !name.Scalar().empty() ? name.Scalar() : address.host;
      return target;
    }
  } catch (const YAML::Exception&) {
    return unusable;  // torn or foreign
  }
  return unusable;
}

}  // namespace kubelane::teleport

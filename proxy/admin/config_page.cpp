#include "proxy/admin/config_page.hpp"

#include <chrono>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "proxy/observe/log.hpp"

namespace kubelane::admin {
namespace {

namespace json = boost::json;

constexpr const char* masked = "(masked)";

std::string text(std::chrono::milliseconds duration) {
  const auto count = duration.count();
  return count % 1000 == 0 ? std::to_string(count / 1000) + "s" : std::to_string(count) + "ms";
}

std::string text(const ListenAddress& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

std::string text(const ControlAddress& address) {
  return address.unix_path.empty() ? text(address.tcp) : "unix://" + address.unix_path;
}

const char* text(LocalAuth auth) {
  return auth == LocalAuth::token ? "token" : auth == LocalAuth::mtls ? "mtls" : "none";
}

const char* text(ProxyProtocol protocol) {
  return protocol == ProxyProtocol::automatic ? "auto"
         : protocol == ProxyProtocol::http1   ? "http1"
                                              : "http2";
}

json::array list(const std::vector<std::string>& values) {
  json::array out;
  for (const std::string& value : values) out.emplace_back(value);
  return out;
}

json::object destination(const Destination& from) {
  json::object out;
  out["type"] = from.type == Destination::Type::directory ? "directory"
                : from.type == Destination::Type::memory  ? "memory"
                                                          : "none";
  if (!from.path.empty()) out["path"] = from.path;
  json::array readers;
  for (const Destination::Reader& reader : from.readers)
    readers.push_back(reader.user.empty() ? json::object{{"group", reader.group}}
                                          : json::object{{"user", reader.user}});
  if (!readers.empty()) out["readers"] = std::move(readers);
  return out;
}

json::object service_object(const Config& config, const Service& service, std::string_view name) {
  json::object out;
  out["name"] = std::string(name);
  const bool v2 = service.type == Service::Type::kubernetes_v2;
  out["type"] = v2 ? "kubernetes/v2" : "kubernetes";
  json::array selectors;
  for (const ClusterSelector& selector : service.clusters) {
    json::object each;
    if (!selector.name.empty()) each["name"] = selector.name;
    json::object labels;
    for (const auto& [key, value] : selector.labels) labels[key] = value;
    if (!labels.empty()) each["labels"] = std::move(labels);
    if (!selector.default_namespace.empty()) each["default_namespace"] = selector.default_namespace;
    selectors.push_back(std::move(each));
  }
  out["selectors"] = std::move(selectors);
  out["context_name_template"] = service.context_name_template;
  out["listen"] = text(service.listen.value_or(config.listen));
  out["local_auth"] = text(service.local_auth);
  out["local_tls"] = service.local_tls;
  out["credentials"] = service.by_bot() ? "the bot's" : service.credentials_path;
  out["destination"] = destination(service.destination);
  if (!service.roles.empty()) out["roles"] = list(service.roles);
  if (service.credential_ttl.count() > 0) out["credential_ttl"] = text(service.credential_ttl);
  if (service.renewal_interval.count() > 0)
    out["renewal_interval"] = text(service.renewal_interval);
  if (!service.impersonate_user.empty() || !service.impersonate_groups.empty())
    out["impersonate"] = json::object{{"user", service.impersonate_user},
                                      {"groups", list(service.impersonate_groups)}};
  return out;
}

json::object onboarding_object(const Config& config) {
  const Onboarding& from = config.onboarding;
  json::object out;
  const std::string_view method = name(from.join_method);
  out["join_method"] = std::string(method);
  // A secret with method token, unless it is the path of a file; a name with the others.
  const bool secret = from.join_method == JoinMethod::token && !from.token.starts_with('/');
  out["token"] = secret && !from.token.empty() ? std::string(masked) : from.token;
  if (!from.kubernetes_token_path.empty())
    out["kubernetes"] = json::object{{"token_path", from.kubernetes_token_path}};
  if (!from.ca_pins.empty()) out["ca_pins"] = list(from.ca_pins);
  if (!from.ca_path.empty()) out["ca_path"] = from.ca_path;
  out["join_path"] = from.join_path == JoinPath::web    ? "web"
                     : from.join_path == JoinPath::grpc ? "grpc"
                                                        : "auto";
  return out;
}

json::object limits_object(const Limits& limits) {
  return {{"max_connections", limits.max_connections},
          {"max_header_bytes", limits.max_header_bytes},
          {"max_header_fields", limits.max_header_fields},
          {"max_upstream_connections", limits.max_upstream_connections},
          {"max_idle_upstream_connections", limits.max_idle_upstream_connections},
          {"buffer_memory_bytes", limits.buffer_memory_bytes}};
}

json::object timeouts_object(const Timeouts& timeouts) {
  return {{"local_handshake", text(timeouts.local_handshake)},
          {"request_head", text(timeouts.request_head)},
          {"local_idle", text(timeouts.local_idle)},
          {"connect", text(timeouts.connect)},
          {"upstream_handshake", text(timeouts.upstream_handshake)},
          {"response_head", text(timeouts.response_head)},
          {"progress", text(timeouts.progress)},
          {"upstream_idle", text(timeouts.upstream_idle)},
          {"half_closed", text(timeouts.half_closed)},
          {"drain", text(timeouts.drain)},
          {"credentials_poll", text(timeouts.credentials_poll)}};
}

}  // namespace

std::string config_page(const Config& config) {
  json::object out;
  out["version"] = "v2";
  if (!config.proxy_server.empty()) out["proxy_server"] = config.proxy_server;
  if (!config.auth_server.empty()) out["auth_server"] = config.auth_server;
  if (!config.proxy_ca.empty()) out["proxy_ca"] = config.proxy_ca;
  out["proxy_protocol"] = text(config.proxy_protocol);
  out["insecure"] = config.insecure;
  if (config.onboarding.given) out["onboarding"] = onboarding_object(config);
  if (!config.join_uri.empty()) out["join_uri"] = masked;
  out["credential_ttl"] = text(config.credential_ttl);
  out["renewal_interval"] = text(config.renewal_interval);
  out["leeway"] = text(config.leeway);
  out["oneshot"] = config.oneshot;
  out["listen"] = text(config.listen);
  out["allow_remote"] = config.allow_remote;
  if (!config.local_trust.empty()) out["local_trust"] = config.local_trust;
  out["allowed_hosts"] = list(config.allowed_hosts);
  out["local_auth"] = text(config.local_auth);
  out["local_tls"] = config.local_tls;
  out["storage"] = config.storage_path.empty() ? "memory" : config.storage_path;
  if (config.diag_addr) out["diag_addr"] = text(*config.diag_addr);
  if (config.admin_addr) out["admin_addr"] = text(*config.admin_addr);
  out["workers"] = config.workers;
  out["log"] = json::object{{"format", config.log_format == LogFormat::json ? "json" : "text"},
                            {"level", std::string(log::name(log::level()))}};
  out["limits"] = limits_object(config.limits);
  out["timeouts"] = timeouts_object(config.timeouts);
  json::array services;
  const std::vector<std::string> names = service_names(config);
  for (std::size_t i = 0; i < config.services.size(); ++i)
    services.push_back(service_object(config, config.services[i], names[i]));
  out["services"] = std::move(services);
  return json::serialize(out) + "\n";
}

}  // namespace kubelane::admin

#include "proxy/local_side.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>

#include "config/values.hpp"
#include "proxy/http/route_path.hpp"
#include "proxy/runtime/acceptor.hpp"
#include "tls/context.hpp"
#include "tls/key.hpp"
#include "tls/shared_trust.hpp"

namespace kubelane {
namespace {

constexpr std::chrono::hours certificate_renew_before{30 * 24};

// The host that local clients dial.
std::string client_host(const ListenAddress& address) {
  if (address.host == "localhost" || address.host == "0.0.0.0") return "127.0.0.1";
  if (address.host == "::") return "::1";
  return address.host;
}

// What makes an endpoint another one: connections of the old kind must not meet the new rules.
bool serves(const Endpoint& endpoint, const Service& service, const ListenAddress& wanted) {
  return endpoint.wanted == wanted && endpoint.auth == service.local_auth &&
         endpoint.tls == service.local_tls;
}

}  // namespace

Outcome<void> LocalSide::open(const Config& config, std::vector<host::PassedSocket> passed) {
  passed_ = std::move(passed);
  Outcome<tls::LocalTrust> trust = config.local_trust.empty()
                                       ? tls::open_local_trust(config.storage_path)
                                       : tls::read_shared_trust(config.local_trust);
  if (!trust) return trust.error();
  trust_ = std::move(*trust);
  return {};
}

std::optional<std::size_t> LocalSide::shared_endpoint() const {
  for (const auto& [number, endpoint] : endpoints_)
    if (endpoint.shared && !endpoint.closing) return number;
  return std::nullopt;
}

std::optional<std::size_t> LocalSide::at_address(const ListenAddress& wanted) const {
  if (wanted.port == 0 && wanted.passed.empty()) return std::nullopt;
  for (const auto& [number, endpoint] : endpoints_)
    if (!endpoint.closing && endpoint.wanted == wanted) return number;
  return std::nullopt;
}

// Another endpoint at the same address hands its socket on, so that nobody is refused meanwhile.
Outcome<void> LocalSide::bind(Endpoint& endpoint, bool allow_remote) const {
  if (const auto other = at_address(endpoint.wanted)) {
    endpoint.address = endpoints_.at(*other).address;
    endpoint.socket = duplicate_socket(*other);
    if (endpoint.socket) return {};
    return Failure{Code::config, "cannot go on listening on " + client_address(*other) + ": " +
                                     std::generic_category().message(errno)};
  }
  if (!endpoint.wanted.passed.empty()) return take_passed(endpoint, allow_remote);
  Outcome<runtime::ListeningSocket> listening = runtime::listen_on(endpoint.wanted);
  if (!listening) return listening.error();
  endpoint.address = endpoint.wanted;
  endpoint.address.port = listening->port;
  endpoint.socket = std::move(listening->fd);
  return {};
}

// The original stays here, for another configuration that names it.
Outcome<void> LocalSide::take_passed(Endpoint& endpoint, bool allow_remote) const {
  const std::string& name = endpoint.wanted.passed;
  const std::string what = "the socket systemd:" + name + " ";
  const auto found =
      std::find_if(passed_.begin(), passed_.end(),
                   [&](const host::PassedSocket& each) { return each.name == name; });
  if (found == passed_.end()) {
    std::string names;
    for (const host::PassedSocket& each : passed_) names += " " + each.name;
    return Failure{Code::config,
                   what + "was not passed by systemd (passed:" + (names.empty() ? " none" : names) +
                       "); name it by FileDescriptorName= in a .socket unit"};
  }
  tls::UniqueFd fd(::fcntl(found->fd.get(), F_DUPFD_CLOEXEC, 3));
  Outcome<runtime::ListeningSocket> listening = runtime::listen_by(std::move(fd), endpoint.address);
  if (!listening) return Failure{Code::config, what + listening.error().message};
  if (!is_loopback(endpoint.address) && !allow_remote)
    return Failure{Code::config, what + "listens on " + endpoint.address.host +
                                     ", which other machines can reach; set allow_remote: true "
                                     "(--allow-remote) if that is meant"};
  endpoint.socket = std::move(listening->fd);
  return {};
}

Outcome<LocalSide::Plan> LocalSide::plan(
    const Config& config, const std::vector<std::optional<std::size_t>>& current) const {
  Plan plan;
  plan.next_number = next_number_;
  const std::optional<std::size_t> shared_now = shared_endpoint();
  std::optional<std::size_t> shared_next;
  for (std::size_t i = 0; i < config.services.size(); ++i) {
    const Service& service = config.services[i];
    const bool shared = !service.listen;
    const ListenAddress wanted = service.listen.value_or(config.listen);
    if (shared && shared_next) {
      plan.of_service.push_back(*shared_next);
      continue;
    }
    std::optional<std::size_t> number = shared ? shared_now : current[i];
    if (number && (endpoints_.at(*number).shared != shared ||
                   !serves(endpoints_.at(*number), service, wanted)))
      number.reset();
    if (!number) {
      Endpoint endpoint;
      endpoint.wanted = wanted;
      endpoint.auth = service.local_auth;
      endpoint.tls = service.local_tls;
      endpoint.shared = shared;
      if (Outcome<void> bound = bind(endpoint, config.allow_remote); !bound) return bound.error();
      number = plan.next_number++;
      plan.opened.emplace(*number, std::move(endpoint));
    }
    if (shared) shared_next = number;
    plan.of_service.push_back(*number);
  }
  for (const auto& [number, endpoint] : endpoints_) {
    const auto& used = plan.of_service;
    if (endpoint.closing || std::find(used.begin(), used.end(), number) != used.end()) continue;
    const bool handed_over = std::any_of(plan.opened.begin(), plan.opened.end(),
                                         [this, each = number](const auto& opened) {
                                           return at_address(opened.second.wanted) == each;
                                         });
    plan.closed.push_back({number, handed_over});
  }
  return plan;
}

void LocalSide::adopt(Plan plan) {
  next_number_ = plan.next_number;
  for (const Plan::Closed& closed : plan.closed) {
    endpoints_.at(closed.endpoint).closing = true;
    endpoints_.at(closed.endpoint).socket.reset();
  }
  endpoints_.merge(plan.opened);
}

Outcome<void> LocalSide::renew_certificate(const Config& config) {
  std::vector<std::string> names = config.allowed_hosts;
  for (const auto& [number, endpoint] : endpoints_)
    if (!is_loopback(endpoint.address)) names.push_back(client_host(endpoint.address));
  Outcome<tls::LeafPem> leaf = tls::issue_server_leaf(trust_, names);
  if (!leaf) return leaf.error();
  certificate_end_ = leaf->not_after;
  for (auto& [number, endpoint] : endpoints_) {
    if (endpoint.closing) continue;
    const bool mutual = endpoint.auth == LocalAuth::mtls;
    if (mutual && client_leaf_.certificate.empty()) {
      Outcome<tls::LeafPem> client = tls::issue_client_leaf(trust_);
      if (!client) return client.error();
      client_leaf_ = std::move(*client);
    }
    if (!endpoint.tls) continue;
    Outcome<tls::ContextPtr> context =
        tls::make_local_context(leaf->certificate + trust_.ca_certificate, leaf->key,
                                mutual ? trust_.ca_certificate : std::string());
    if (!context) return context.error();
    endpoint.context = std::move(*context);
  }
  tls::wipe(leaf->key);
  return {};
}

bool LocalSide::wants_renewal() const {
  return std::chrono::system_clock::now() >= certificate_end_ - certificate_renew_before;
}

tls::UniqueFd LocalSide::duplicate_socket(std::size_t endpoint) const {
  return tls::UniqueFd(::fcntl(endpoints_.at(endpoint).socket.get(), F_DUPFD_CLOEXEC, 3));
}

std::shared_ptr<relay::Listener> LocalSide::make_listener(std::size_t number,
                                                          const Config& config) const {
  const Endpoint& endpoint = endpoints_.at(number);
  auto listener = std::make_shared<relay::Listener>();
  listener->address = endpoint.address.host + ":" + std::to_string(endpoint.address.port);
  listener->auth = endpoint.auth;
  if (endpoint.auth == LocalAuth::token) listener->token = trust_.token;
  listener->allowed_hosts = config.allowed_hosts;
  listener->any_ip_host = config.allow_remote;
  listener->context = endpoint.context;
  listener->closing = endpoint.closing;
  return listener;
}

std::string LocalSide::client_address(std::size_t endpoint) const {
  const ListenAddress& address = endpoints_.at(endpoint).address;
  std::string host = client_host(address);
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return host + ":" + std::to_string(address.port);
}

std::string LocalSide::server_url(std::size_t number, const std::string& cluster) const {
  const Endpoint& endpoint = endpoints_.at(number);
  return (endpoint.tls ? "https://" : "http://") + client_address(number) +
         (endpoint.shared ? http::local_prefix(cluster) : std::string());
}

void LocalSide::put_credentials(std::size_t number, kube::Kubeconfig& kubeconfig) const {
  const Endpoint& endpoint = endpoints_.at(number);
  if (endpoint.tls) kubeconfig.ca_pem = trust_.ca_certificate;
  if (endpoint.auth == LocalAuth::token) kubeconfig.token = trust_.token;
  if (endpoint.auth == LocalAuth::mtls) {
    kubeconfig.client_certificate_pem = client_leaf_.certificate;
    kubeconfig.client_key_pem = client_leaf_.key;
  }
}

}  // namespace kubelane

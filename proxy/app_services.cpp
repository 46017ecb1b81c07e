// App's services: their ways upstream, the routes to their clusters, their kubeconfigs.
#include <algorithm>
#include <utility>

#include "proxy/app.hpp"
#include "proxy/http/route_path.hpp"
#include "proxy/observe/log.hpp"
#include "proxy/teleport/credential_directory.hpp"
#include "proxy/teleport/secret_storage.hpp"

namespace kubelane {
namespace {

constexpr std::chrono::seconds kubeconfig_retry{5};
constexpr std::size_t most_told = 50;      // clusters in the log at the start
constexpr std::size_t most_absent = 1000;  // clusters that are remembered as gone

// By which identity clusters are reached: the same text, the same identity.
std::string way_of(const Service& service, const std::string& cluster) {
  std::string way = service.credentials_path;
  way += service.type == Service::Type::kubernetes ? "|kubernetes" : "|kubernetes/v2";
  for (const std::string& role : service.roles) way += "|" + role;
  if (service.by_bot() && service.type == Service::Type::kubernetes)
    way += "||" + service.clusters.front().name;
  return way + "|||" + cluster;
}

}  // namespace

bool App::holds(const std::vector<teleport::ServedCluster>& clusters, const std::string& name) {
  return std::any_of(clusters.begin(), clusters.end(),
                     [&](const teleport::ServedCluster& each) { return each.name == name; });
}

std::vector<teleport::ServedCluster> App::named_clusters(const Service& service) {
  std::vector<teleport::ServedCluster> named;
  for (const ClusterSelector& cluster : service.clusters)
    if (!cluster.name.empty()) named.push_back({cluster.name, cluster.default_namespace});
  return named;
}

std::optional<std::string> App::only_cluster(const Service& service) {
  if (service.by_bot()) return std::nullopt;
  return service.clusters.size() == 1 ? service.clusters.front().name : "";
}

App::ServiceNumber App::add_service(const Service& configured, std::size_t endpoint) {
  const ServiceNumber number = next_service_++;
  ServiceState& state = services_[number];
  state.configured = configured;
  state.endpoint = endpoint;
  state.listed = !configured.by_bot();
  state.clusters = named_clusters(configured);
  return number;
}

// Null where nobody needs one.
Outcome<std::unique_ptr<teleport::Bot>> App::make_bot(const Config& config) {
  if (std::none_of(config.services.begin(), config.services.end(),
                   [](const Service& service) { return service.by_bot(); }))
    return std::unique_ptr<teleport::Bot>();
  std::unique_ptr<teleport::BotStorage> storage = teleport::make_memory_storage();
  if (!config.storage_path.empty()) {
    Outcome<std::unique_ptr<teleport::BotStorage>> opened =
        teleport::open_directory_storage(config.storage_path);
    if (!opened) return opened.error();
    storage = std::move(*opened);
  } else if (!config.storage_secret.name.empty()) {
    Outcome<teleport::ApiObject> secret = api_server_->secret(config.storage_secret);
    if (!secret) return secret.error();
    storage = teleport::make_secret_storage(io_, *api_server_, *secret, config.storage_secret);
  } else if (config.onboarding.join_method == JoinMethod::token && !config.oneshot) {
    log::warn(
        "join_method token with storage in memory: the token is good for one join, so a restart "
        "needs a new one; give storage a directory or a Secret, or use another join method");
  }
  teleport::Bot::Events events;
  events.on_inventory = [this](std::size_t service, const teleport::Inventory& inventory,
                               bool bound) { listed(service, inventory, bound); };
  events.on_proxy = [this](const teleport::HostPort& proxy) { discovery_->set_address(proxy); };
  return std::make_unique<teleport::Bot>(io_, config, std::move(storage), std::move(events));
}

// Which services it makes identities for.
void App::tell_bot() {
  if (!bot_) return;
  std::map<std::size_t, Service> services;
  for (const ServiceNumber service : configured_)
    if (const Service& each = services_.at(service).configured; each.by_bot())
      services.emplace(service, each);
  bot_->reconfigure(config_, std::move(services));
}

// `cluster`: the one that it is for, where each has its own identity. Returns its upstream.
std::size_t App::add_source(ServiceNumber service, const std::string& cluster) {
  const Service& configured = services_.at(service).configured;
  std::unique_ptr<teleport::IdentityFeed> feed;
  if (configured.by_bot()) {
    feed = bot_->feed(service, cluster);
  } else {
    feed = std::make_unique<teleport::CredentialDirectory>(io_, configured.credentials_path,
                                                           config_.timeouts.credentials_poll);
  }
  const std::string way = way_of(configured, cluster);
  const auto unused = std::find_if(
      upstreams_.begin(), upstreams_.end(),
      [&](const UpstreamState& each) { return each.source == nullptr && each.way == way; });
  const auto upstream = static_cast<std::size_t>(unused - upstreams_.begin());
  if (unused == upstreams_.end()) upstreams_.emplace_back();
  upstreams_[upstream].service = service;
  upstreams_[upstream].way = way;
  upstreams_[upstream].cluster = cluster;
  upstreams_[upstream].source = std::make_unique<teleport::ServiceSource>(
      io_, configured.label(), only_cluster(configured), std::move(feed), *discovery_,
      [this, upstream](const link::UpstreamSnapshotPtr& snapshot) {
        published(upstream, snapshot);
      });
  return upstream;
}

void App::retire_upstream(std::size_t upstream) {
  upstreams_[upstream].source.reset();
  for (const auto& worker : workers_) worker->retire(upstream);
}

void App::publish_listeners() {
  for (const auto& [number, endpoint] : local_side_.endpoints()) {
    const std::shared_ptr<relay::Listener> listener = local_side_.make_listener(number, config_);
    for (const ServiceNumber service : configured_) {
      const ServiceState& state = services_.at(service);
      const auto& former = state.former_endpoints;
      if (state.endpoint == number ||
          std::find(former.begin(), former.end(), number) != former.end())
        add_routes(*listener, endpoint, service);
    }
    if (const auto removed = removed_.find(number); removed != removed_.end())
      for (const auto& [segment, why] : removed->second)
        if (!listener->by_segment.contains(segment)) listener->absent.emplace(segment, why);
    for (const auto& worker : workers_) worker->set_listener(number, listener);
  }
}

void App::add_routes(relay::Listener& listener, const Endpoint& endpoint,
                     ServiceNumber service) const {
  const ServiceState& state = services_.at(service);
  listener.upstreams.push_back(state.upstream);
  for (const auto& [cluster, upstream] : state.upstreams) listener.upstreams.push_back(upstream);
  for (const teleport::ServedCluster& cluster : state.clusters) {
    relay::Route route = route_to(service, cluster.name);
    if (endpoint.shared) {
      route.local_prefix = http::local_prefix(route.cluster);
      listener.by_segment.emplace(route.local_prefix.substr(1), listener.routes.size());
    }
    listener.routes.push_back(std::move(route));
  }
  for (const auto& [cluster, why] : state.absent)
    listener.absent.emplace(http::local_prefix(cluster).substr(1), why);
  if (!state.listed)
    listener.waiting_for =
        "kubelane does not know yet which clusters Teleport lists for its bot; see its log if this "
        "lasts";
}

relay::Route App::route_to(ServiceNumber service, const std::string& cluster) const {
  const ServiceState& state = services_.at(service);
  relay::Route route;
  route.cluster = cluster;
  route.service = service;
  route.upstream = state.bound ? state.upstreams.at(cluster) : state.upstream;
  route.teleport_cluster = state.teleport_cluster;
  route.upstream_prefix = http::teleport_prefix(route.teleport_cluster, route.cluster);
  route.impersonation = {state.configured.impersonate_user, state.configured.impersonate_groups};
  const MeterSlots::Slot slot = meters_.of(service, cluster);
  route.meter = slot.index;
  route.meter_owner = slot.owner;
  return route;
}

void App::protocol_seen(std::size_t upstream, bool http2) {
  UpstreamState& state = upstreams_[upstream];
  if (state.source == nullptr || state.http2 == http2) return;
  state.http2 = http2;
  log::info("the Proxy's protocol", {{"service", services_.at(state.service).configured.label()},
                                     {"protocol", http2 ? "HTTP/2" : "HTTP/1.1"}});
  for (const auto& worker : workers_) worker->protocol_seen(upstream, http2);
}

void App::published(std::size_t upstream, const link::UpstreamSnapshotPtr& snapshot) {
  const ServiceNumber service = upstreams_[upstream].service;
  ServiceState& state = services_.at(service);
  const std::string& teleport_cluster = snapshot->target.teleport_cluster;
  if (!teleport_cluster.empty() && teleport_cluster != state.teleport_cluster) {
    state.teleport_cluster = teleport_cluster;
    state.stale_kubeconfig = true;
    publish_listeners();  // the routes lead through it
  }
  for (const auto& worker : workers_) worker->adopt(upstream, snapshot);
  look_at(service);
}

// Teleport lists these clusters for the bot.
void App::listed(ServiceNumber service, const teleport::Inventory& inventory, bool bound) {
  const auto found = services_.find(service);
  if (found == services_.end()) return;  // it ended meanwhile
  ServiceState& state = found->second;
  tell_changes(state, inventory);
  for (const teleport::ServedCluster& cluster : inventory.clusters)
    forget_removed(state.endpoint, cluster.name);
  while (state.absent.size() > most_absent) state.absent.erase(state.absent.begin());
  state.clusters = inventory.clusters;
  meters_.keep(service, state.clusters);
  state.bound = bound && state.configured.type == Service::Type::kubernetes_v2;
  state.listed = true;
  state.selection_changed = false;
  state.stale_kubeconfig = true;
  bind_clusters(service);
  look_at(service);
}

// What is in the log, and in answers to requests for clusters that are not there.
void App::tell_changes(ServiceState& state, const teleport::Inventory& inventory) {
  const std::string& label = state.configured.label();
  const bool first = !state.listed;
  for (const teleport::ServedCluster& cluster : state.clusters) {
    if (first || holds(inventory.clusters, cluster.name)) continue;
    log::warn("a cluster is gone", {{"service", label}, {"cluster", cluster.name}});
    const std::string name = "Kubernetes cluster \"" + cluster.name + "\" ";
    state.absent[cluster.name] =
        state.selection_changed
            ? name + "is not selected any more by kubelane's configuration."
            : name +
                  "is gone: Teleport does not list it any more for kubelane's bot. It is served "
                  "again when it comes back.";
  }
  for (const teleport::Inventory::Missing& missing : inventory.missing)
    if (first || !state.absent.contains(missing.name))
      state.absent[missing.name] =
          "Kubernetes cluster \"" + missing.name + "\" is not to be had: " + missing.cause;
  for (const teleport::ServedCluster& cluster : inventory.clusters) {
    state.absent.erase(cluster.name);
    if (!first && !holds(state.clusters, cluster.name))
      log::info("a cluster has appeared",
                {{"service", label},
                 {"cluster", cluster.name},
                 {"server", local_side_.server_url(state.endpoint, cluster.name)}});
  }
}

// A way upstream for each cluster that has its own identity; then the routes are published.
void App::bind_clusters(ServiceNumber service) {
  ServiceState& state = services_.at(service);
  std::vector<std::size_t> fresh;
  if (state.bound) {
    for (const teleport::ServedCluster& cluster : state.clusters) {
      if (state.upstreams.contains(cluster.name)) continue;
      fresh.push_back(add_source(service, cluster.name));
      state.upstreams[cluster.name] = fresh.back();
    }
  }
  publish_listeners();
  for (const std::size_t upstream : fresh) upstreams_[upstream].source->start();
}

bool App::usable(const ServiceState& state) const {
  const auto good = [this](std::size_t upstream) {
    const link::UpstreamSnapshotPtr& newest = upstreams_[upstream].source->newest();
    return newest && newest->problem.empty();
  };
  if (!state.bound) return good(state.upstream);
  return std::all_of(state.clusters.begin(), state.clusters.end(),
                     [&](const auto& cluster) { return good(state.upstreams.at(cluster.name)); });
}

// What follows from news about a service: its kubeconfig, and whether it is ready.
void App::look_at(ServiceNumber service) {
  ServiceState& state = services_.at(service);
  if (state.teleport_cluster.empty() || !state.listed) return;
  if (state.stale_kubeconfig && state.secret) {
    state.secret->put(kubeconfig_text(state));
  } else if (state.stale_kubeconfig && !write_kubeconfig(state)) {
    retry_kubeconfigs();
  }
  if (state.ready || state.stale_kubeconfig || !usable(state)) return;
  state.ready = true;
  tell_status();
  const Service& configured = state.configured;
  std::size_t told = 0;
  for (const teleport::ServedCluster& cluster : state.clusters) {
    if (++told > most_told) {
      log::info("ready, and more",
                {{"service", configured.label()}, {"clusters", state.clusters.size()}});
      break;
    }
    log::info("ready", {{"service", configured.label()},
                        {"cluster", cluster.name},
                        {"server", local_side_.server_url(state.endpoint, cluster.name)},
                        {"kubeconfig", kubeconfig_path(state)}});
  }
  look_at_all();
}

void App::look_at_all() {
  if (all_ready_ || !std::all_of(services_.begin(), services_.end(),
                                 [](const auto& each) { return each.second.ready; }))
    return;
  all_ready_ = true;
  log::info("kubelane is ready");
  if (on_ready_) std::exchange(on_ready_, nullptr)();
  if (config_.oneshot) return release_storage([this] { finish(0); });
  give_memory_back_later();
}

// Names are tbot's (data-path spec 1.5, 1.6).
std::string App::kubeconfig_text(const ServiceState& state) const {
  const Service& configured = state.configured;
  const std::string& teleport_cluster = state.teleport_cluster;
  const bool v2 = configured.type == Service::Type::kubernetes_v2;
  kube::Kubeconfig kubeconfig;
  for (const teleport::ServedCluster& cluster : state.clusters) {
    kube::KubeconfigCluster entry;
    entry.context = teleport_cluster + "-" + cluster.name;
    if (v2) {
      Outcome<std::string> context = kube::expand_context_name(configured.context_name_template,
                                                               teleport_cluster, cluster.name);
      if (context) entry.context = std::move(*context);
    }
    entry.server = local_side_.server_url(state.endpoint, cluster.name);
    entry.name_space = cluster.default_namespace;
    kubeconfig.clusters.push_back(std::move(entry));
  }
  kubeconfig.user =
      v2 || kubeconfig.clusters.empty() ? teleport_cluster : kubeconfig.clusters.front().context;
  local_side_.put_credentials(state.endpoint, kubeconfig);
  return kube::render(kubeconfig);
}

// True when the file is there as it should be.
bool App::write_kubeconfig(ServiceState& state) {
  const Service& configured = state.configured;
  Outcome<kube::WriteReport> written =
      kube::write_kubeconfig(configured.destination, kubeconfig_text(state));
  if (!written) {
    log::error("cannot write the kubeconfig; trying again",
               {{"service", configured.label()}, {"cause", written.error().message}});
    return false;
  }
  for (const std::string& warning : written->warnings)
    log::warn("kubeconfig written, but not for all its readers",
              {{"service", configured.label()}, {"cause", warning}});
  if (written->changed) log::info("kubeconfig written", {{"path", written->path}});
  state.stale_kubeconfig = false;
  state.kubeconfig_written = true;
  return true;
}

void App::retry_kubeconfigs() {
  kubeconfig_timer_.expires_after(kubeconfig_retry);
  kubeconfig_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    for (const ServiceNumber service : configured_)
      if (services_.at(service).stale_kubeconfig) look_at(service);
  });
}

}  // namespace kubelane

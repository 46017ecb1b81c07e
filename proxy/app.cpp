#include "proxy/app.hpp"

#include <algorithm>
#include <csignal>
#include <thread>

#include <boost/asio/post.hpp>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config/values.hpp"
#include "proxy/http/route_path.hpp"
#include "proxy/kube/kubeconfig.hpp"
#include "proxy/observe/log.hpp"
#include "proxy/teleport/credential_directory.hpp"
#include "tls/context.hpp"
#include "tls/free_lists.hpp"
#include "tls/shared_trust.hpp"

// The linker's names for the bounds of the program's code.
extern "C" const char __executable_start;  // NOLINT(bugprone-reserved-identifier)
extern "C" const char etext;

namespace kubelane {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::system_clock;

constexpr hours certificate_check{1};
constexpr hours certificate_renew_before{30 * 24};
constexpr seconds kubeconfig_retry{5};
constexpr seconds settling_time{2};
constexpr seconds oneshot_limit{120};
constexpr std::size_t most_told = 50;      // clusters in the log at the start
constexpr std::size_t most_absent = 1000;  // clusters that are remembered as gone
constexpr seconds last_moments{1};         // after the drain deadline, for proper endings

// Secrets must not reach a core file; many clients need many descriptors; one heap is enough for
// threads that hardly allocate.
void prepare_process() {
  ::mallopt(M_ARENA_MAX, 1);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit of file sizes is an error like a full disk
}

// Clean pages of a file only: nothing in them is lost.
void forget_code_pages() {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(&__executable_start) / page * page;
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(&etext) / page * page;
  // An address of the page table, not of an object. NOLINTNEXTLINE(performance-no-int-to-ptr)
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

// The host that local clients dial.
std::string client_host(const ListenAddress& address) {
  if (address.host == "localhost" || address.host == "0.0.0.0") return "127.0.0.1";
  if (address.host == "::") return "::1";
  return address.host;
}

}  // namespace

App::App(Config config)
    : config_(std::move(config)),
      signals_(io_, SIGTERM, SIGINT),
      certificate_timer_(io_),
      kubeconfig_timer_(io_),
      drain_timer_(io_),
      memory_timer_(io_),
      oneshot_timer_(io_) {
  signals_.add(SIGHUP);
  signals_.add(SIGUSR1);
  if (config_.workers == 0)
    config_.workers = std::clamp(std::thread::hardware_concurrency(), 1u, 2u);
}

App::~App() {
  for (const auto& worker : workers_) worker->stop_and_join();
}

int App::run() {
  prepare_process();
  if (Outcome<void> started = start(); !started) {
    log::error("cannot start", {{"cause", started.error().message}});
    return 1;
  }
  await_signal();
  io_.run();
  for (const auto& worker : workers_) worker->stop_and_join();
  observability_.reset();
  log::info("stopped", {{"exit_code", exit_code_}});
  log::flush();
  return exit_code_;
}

// Trust, then listeners, then workers, then credentials; connections are accepted from the start
// and answered with 503 until there are credentials.
Outcome<void> App::start() {
  Outcome<tls::LocalTrust> trust = config_.local_trust.empty()
                                       ? tls::open_local_trust(config_.storage_path)
                                       : tls::read_shared_trust(config_.local_trust);
  if (!trust) return trust.error();
  trust_ = std::move(*trust);
  plan_endpoints();
  if (std::any_of(endpoints_.begin(), endpoints_.end(),
                  [](const Endpoint& endpoint) { return endpoint.auth == LocalAuth::mtls; })) {
    Outcome<tls::LeafPem> leaf = tls::issue_client_leaf(trust_);
    if (!leaf) return leaf.error();
    client_leaf_ = std::move(*leaf);
  }
  for (Endpoint& endpoint : endpoints_) {
    Outcome<runtime::ListeningSocket> listening = runtime::listen_on(endpoint.address);
    if (!listening) return listening.error();
    endpoint.socket = std::move(listening->fd);
    endpoint.address.port = listening->port;
  }
  observability_ = std::make_unique<Observability>(io_, config_, workers_,
                                                   Observability::Parts{[this] { return view(); },
                                                                        [this] {
                                                                          if (!draining_) drain();
                                                                        }});
  if (Outcome<void> bound = observability_->bind(); !bound) return bound.error();
  if (Outcome<void> made = make_bot(); !made) return made.error();
  if (Outcome<void> made = renew_contexts(); !made) return made.error();
  start_workers();
  publish_listeners();
  start_sources();
  observability_->start();
  for (std::size_t i = 0; i < endpoints_.size(); ++i) {
    Endpoint& endpoint = endpoints_[i];
    workers_.front()->accept_from(std::move(endpoint.socket), i);
    log::info("listening", {{"address", client_host(endpoint.address) + ":" +
                                            std::to_string(endpoint.address.port)},
                            {"tls", endpoint.tls ? "true" : "false"}});
  }
  renew_certificate_later();
  return {};
}

void App::plan_endpoints() {
  services_.resize(config_.services.size());
  for (std::size_t i = 0; i < config_.services.size(); ++i) {
    const Service& service = config_.services[i];
    services_[i].listed = !service.by_bot();
    for (const ClusterSelector& cluster : service.clusters)
      if (!cluster.name.empty())
        services_[i].clusters.push_back({cluster.name, cluster.default_namespace});
    auto shared = std::find_if(endpoints_.begin(), endpoints_.end(),
                               [](const Endpoint& endpoint) { return endpoint.shared; });
    if (service.listen || shared == endpoints_.end()) {
      Endpoint endpoint;
      endpoint.shared = !service.listen;
      endpoint.address = service.listen.value_or(config_.listen);
      endpoint.auth = service.local_auth;
      endpoint.tls = service.local_tls;
      endpoints_.push_back(std::move(endpoint));
      shared = endpoints_.end() - 1;
    }
    shared->services.push_back(i);
    services_[i].endpoint = static_cast<std::size_t>(shared - endpoints_.begin());
  }
}

// A new server certificate for all listeners that speak TLS.
Outcome<void> App::renew_contexts() {
  std::vector<std::string> names = config_.allowed_hosts;
  for (const Endpoint& endpoint : endpoints_)
    if (!is_loopback(endpoint.address)) names.push_back(client_host(endpoint.address));
  Outcome<tls::LeafPem> leaf = tls::issue_server_leaf(trust_, names);
  if (!leaf) return leaf.error();
  certificate_end_ = leaf->not_after;
  for (Endpoint& endpoint : endpoints_) {
    if (!endpoint.tls) continue;
    const bool mutual = endpoint.auth == LocalAuth::mtls;
    Outcome<tls::ContextPtr> context =
        tls::make_local_context(leaf->certificate + trust_.ca_certificate, leaf->key,
                                mutual ? trust_.ca_certificate : std::string());
    if (!context) return context.error();
    endpoint.context = std::move(*context);
  }
  return {};
}

relay::ListenerPtr App::make_listener(const Endpoint& endpoint) const {
  auto listener = std::make_shared<relay::Listener>();
  listener->address = endpoint.address.host + ":" + std::to_string(endpoint.address.port);
  listener->auth = endpoint.auth;
  if (endpoint.auth == LocalAuth::token) listener->token = trust_.token;
  listener->allowed_hosts = config_.allowed_hosts;
  listener->any_ip_host = config_.allow_remote;
  listener->context = endpoint.context;
  for (const std::size_t service : endpoint.services) add_routes(*listener, endpoint, service);
  return listener;
}

void App::add_routes(relay::Listener& listener, const Endpoint& endpoint,
                     std::size_t service) const {
  const ServiceState& state = services_[service];
  listener.upstreams.push_back(service);
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

relay::Route App::route_to(std::size_t service, const std::string& cluster) const {
  const ServiceState& state = services_[service];
  relay::Route route;
  route.cluster = cluster;
  route.service = service;
  route.upstream = state.bound ? state.upstreams.at(cluster) : service;
  route.teleport_cluster = state.teleport_cluster;
  route.upstream_prefix = http::teleport_prefix(route.teleport_cluster, route.cluster);
  const MeterSlots::Slot slot = meters_.of(service, cluster);
  route.meter = slot.index;
  route.meter_owner = slot.owner;
  return route;
}

void App::publish_listeners() {
  for (std::size_t i = 0; i < endpoints_.size(); ++i) {
    const relay::ListenerPtr listener = make_listener(endpoints_[i]);
    for (const auto& worker : workers_) worker->set_listener(i, listener);
  }
}

void App::start_workers() {
  relay::WorkerReports reports;
  reports.connect_failed = [this](std::size_t upstream) {
    boost::asio::post(io_, [this, upstream] {
      if (const auto& source = upstreams_[upstream].source) source->connect_failed();
    });
  };
  reports.certificate_refused = [this](std::size_t upstream) {
    boost::asio::post(io_, [this, upstream] {
      if (const auto& source = upstreams_[upstream].source) source->reload();
    });
  };
  reports.protocol_seen = [this](std::size_t upstream, bool http2) {
    boost::asio::post(io_, [this, upstream, http2] { protocol_seen(upstream, http2); });
  };
  for (unsigned i = 0; i < config_.workers; ++i) {
    workers_.push_back(std::make_unique<relay::Worker>(config_, reports, workers_, i == 0));
    workers_.back()->start();
  }
}

void App::protocol_seen(std::size_t upstream, bool http2) {
  std::optional<bool>& known = upstreams_[upstream].http2;
  if (known == http2) return;
  known = http2;
  log::info("the Proxy's protocol",
            {{"service", config_.services[upstreams_[upstream].service].label()},
             {"protocol", http2 ? "HTTP/2" : "HTTP/1.1"}});
  for (const auto& worker : workers_) worker->protocol_seen(upstream, http2);
}

Outcome<void> App::make_bot() {
  if (std::none_of(config_.services.begin(), config_.services.end(),
                   [](const Service& service) { return service.by_bot(); }))
    return {};
  std::unique_ptr<teleport::BotStorage> storage = teleport::make_memory_storage();
  if (!config_.storage_path.empty()) {
    Outcome<std::unique_ptr<teleport::BotStorage>> opened =
        teleport::open_directory_storage(config_.storage_path);
    if (!opened) return opened.error();
    storage = std::move(*opened);
  } else if (config_.onboarding.join_method == JoinMethod::token && !config_.oneshot) {
    log::warn(
        "join_method token with storage in memory: the token is good for one join, so a restart "
        "needs a new one; give storage a directory, or use another join method");
  }
  teleport::Bot::Events events;
  events.on_inventory = [this](std::size_t service, const teleport::Inventory& inventory,
                               bool bound) { listed(service, inventory, bound); };
  events.on_proxy = [this](const teleport::HostPort& proxy) { discovery_->set_address(proxy); };
  bot_ = std::make_unique<teleport::Bot>(io_, config_, std::move(storage), std::move(events));
  return {};
}

void App::start_sources() {
  teleport::PingOptions options;
  teleport::parse_host_port(config_.proxy_server, 443, options.address);
  options.ca_file = config_.proxy_ca;
  options.insecure = config_.insecure;
  discovery_ = std::make_unique<teleport::Discovery>(io_, options);
  for (std::size_t i = 0; i < services_.size(); ++i) add_source(i, i, "");
  discovery_->start();
  for (UpstreamState& upstream : upstreams_) upstream.source->start();
  if (bot_) bot_->start();
  if (!config_.oneshot) return;
  oneshot_timer_.expires_after(oneshot_limit);
  oneshot_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    log::error("not ready in time; see what is logged above");
    finish(1);
  });
}

// `cluster`: the one that it is for, where each has its own identity.
void App::add_source(std::size_t upstream, std::size_t service, const std::string& cluster) {
  const Service& configured = config_.services[service];
  if (upstreams_.size() <= upstream) upstreams_.resize(upstream + 1);
  std::unique_ptr<teleport::IdentityFeed> feed;
  std::optional<std::string> only_cluster;
  if (configured.by_bot()) {
    feed = bot_->feed(service, cluster);
  } else {
    feed = std::make_unique<teleport::CredentialDirectory>(io_, configured.credentials_path,
                                                           config_.timeouts.credentials_poll);
    only_cluster = configured.clusters.size() == 1 ? configured.clusters.front().name : "";
  }
  upstreams_[upstream].service = service;
  upstreams_[upstream].cluster = cluster;
  upstreams_[upstream].source = std::make_unique<teleport::ServiceSource>(
      io_, configured.label(), std::move(only_cluster), std::move(feed), *discovery_,
      [this, upstream](const link::UpstreamSnapshotPtr& snapshot) {
        published(upstream, snapshot);
      });
}

void App::published(std::size_t upstream, const link::UpstreamSnapshotPtr& snapshot) {
  const std::size_t service = upstreams_[upstream].service;
  ServiceState& state = services_[service];
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
void App::listed(std::size_t service, const teleport::Inventory& inventory, bool bound) {
  ServiceState& state = services_[service];
  const std::string& label = config_.services[service].label();
  const auto has = [](const std::vector<teleport::ServedCluster>& clusters,
                      const std::string& name) {
    return std::any_of(clusters.begin(), clusters.end(),
                       [&](const teleport::ServedCluster& each) { return each.name == name; });
  };
  const bool first = !state.listed;
  for (const teleport::ServedCluster& cluster : state.clusters) {
    if (first || has(inventory.clusters, cluster.name)) continue;
    log::warn("a cluster is gone", {{"service", label}, {"cluster", cluster.name}});
    state.absent[cluster.name] = "Kubernetes cluster \"" + cluster.name +
                                 "\" is gone: Teleport does not list it any more for kubelane's "
                                 "bot. It is served again when "
                                 "it comes back.";
  }
  for (const teleport::Inventory::Missing& missing : inventory.missing)
    if (first || !state.absent.contains(missing.name))
      state.absent[missing.name] =
          "Kubernetes cluster \"" + missing.name + "\" is not to be had: " + missing.cause;
  for (const teleport::ServedCluster& cluster : inventory.clusters) {
    state.absent.erase(cluster.name);
    if (!first && !has(state.clusters, cluster.name))
      log::info("a cluster has appeared", {{"service", label},
                                           {"cluster", cluster.name},
                                           {"server", server_url(service, cluster.name)}});
  }
  while (state.absent.size() > most_absent) state.absent.erase(state.absent.begin());
  state.clusters = inventory.clusters;
  meters_.keep(service, state.clusters);
  state.bound = bound && config_.services[service].type == Service::Type::kubernetes_v2;
  state.listed = true;
  state.stale_kubeconfig = true;
  std::vector<std::size_t> fresh;
  if (state.bound) {
    for (const teleport::ServedCluster& cluster : state.clusters) {
      if (state.upstreams.contains(cluster.name)) continue;
      fresh.push_back(upstreams_.size());
      state.upstreams[cluster.name] = fresh.back();
      add_source(fresh.back(), service, cluster.name);
    }
  }
  publish_listeners();
  for (const std::size_t upstream : fresh) upstreams_[upstream].source->start();
  look_at(service);
}

bool App::usable(std::size_t service) const {
  const ServiceState& state = services_[service];
  const auto good = [this](std::size_t upstream) {
    const link::UpstreamSnapshotPtr& newest = upstreams_[upstream].source->newest();
    return newest && newest->problem.empty();
  };
  if (!state.bound) return good(service);
  return std::all_of(state.clusters.begin(), state.clusters.end(),
                     [&](const auto& cluster) { return good(state.upstreams.at(cluster.name)); });
}

// What follows from news about a service: its kubeconfig, and whether it is ready.
void App::look_at(std::size_t service) {
  ServiceState& state = services_[service];
  if (state.teleport_cluster.empty() || !state.listed) return;
  if (state.stale_kubeconfig && !write_kubeconfig(service)) retry_kubeconfigs();
  if (state.ready || state.stale_kubeconfig || !usable(service)) return;
  state.ready = true;
  const Service& configured = config_.services[service];
  std::size_t told = 0;
  for (const teleport::ServedCluster& cluster : state.clusters) {
    if (++told > most_told) {
      log::info("ready, and more",
                {{"service", configured.label()}, {"clusters", state.clusters.size()}});
      break;
    }
    log::info("ready", {{"service", configured.label()},
                        {"cluster", cluster.name},
                        {"server", server_url(service, cluster.name)},
                        {"kubeconfig", configured.destination.path + "/kubeconfig.yaml"}});
  }
  if (!all_ready_ && std::all_of(services_.begin(), services_.end(),
                                 [](const ServiceState& other) { return other.ready; })) {
    all_ready_ = true;
    log::info("kubelane is ready");
    if (config_.oneshot) return finish(0);
    give_memory_back_later();
  }
}

// Start-up (configuration, certificates, ping) needs memory that serving does not, and code: the
// program is one large file, of which every page that ever ran counts as ours. Unmapped, it comes
// back from the page cache when it is wanted.
void App::give_memory_back_later() {
  memory_timer_.expires_after(settling_time);
  memory_timer_.async_wait([](boost::system::error_code error) {
    if (error) return;
    tls::release_pooled();
    ::malloc_trim(0);
    forget_code_pages();
  });
}

std::string App::server_url(std::size_t service, const std::string& cluster) const {
  const Endpoint& endpoint = endpoints_[services_[service].endpoint];
  std::string host = client_host(endpoint.address);
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return (endpoint.tls ? "https://" : "http://") + host + ":" +
         std::to_string(endpoint.address.port) +
         (endpoint.shared ? http::local_prefix(cluster) : std::string());
}

// True when the file is there as it should be. Names are tbot's (data-path spec 1.5, 1.6).
bool App::write_kubeconfig(std::size_t service) {
  const Service& configured = config_.services[service];
  const Endpoint& endpoint = endpoints_[services_[service].endpoint];
  ServiceState& state = services_[service];
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
    entry.server = server_url(service, cluster.name);
    entry.name_space = cluster.default_namespace;
    kubeconfig.clusters.push_back(std::move(entry));
  }
  kubeconfig.user =
      v2 || kubeconfig.clusters.empty() ? teleport_cluster : kubeconfig.clusters.front().context;
  if (endpoint.tls) kubeconfig.ca_pem = trust_.ca_certificate;
  if (endpoint.auth == LocalAuth::token) kubeconfig.token = trust_.token;
  if (endpoint.auth == LocalAuth::mtls) {
    kubeconfig.client_certificate_pem = client_leaf_.certificate;
    kubeconfig.client_key_pem = client_leaf_.key;
  }
  Outcome<kube::WriteReport> written =
      kube::write_kubeconfig(configured.destination, kube::render(kubeconfig));
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
    for (std::size_t i = 0; i < services_.size(); ++i)
      if (services_[i].stale_kubeconfig) look_at(i);
  });
}

void App::renew_certificate_later() {
  certificate_timer_.expires_after(certificate_check);
  certificate_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    if (system_clock::now() >= certificate_end_ - certificate_renew_before) {
      if (Outcome<void> renewed = renew_contexts(); !renewed)
        log::error("cannot renew the local server certificate",
                   {{"cause", renewed.error().message}});
      publish_listeners();
    }
    renew_certificate_later();
  });
}

void App::await_signal() {
  signals_.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    if (signal == SIGHUP || signal == SIGUSR1) {
      log::info("reading the credentials again", {{"signal", signal}});
      for (const UpstreamState& upstream : upstreams_)
        if (!config_.services[upstream.service].by_bot()) upstream.source->reload();
      if (bot_) bot_->renew_now("signal", teleport::Bot::Wish::operators);
      discovery_->refresh();
    } else if (draining_) {
      log::warn("second signal: stopping now");
      finish(1);
      return;
    } else {
      log::info("stopping: finishing what is running", {{"signal", signal}});
      drain();
    }
    await_signal();
  });
}

void App::drain() {
  draining_ = true;
  // Only then: a connection must not come to a worker that is through with its drain.
  workers_.front()->stop_accepting([this] { boost::asio::post(io_, [this] { drain_workers(); }); });
  drain_timer_.expires_after(config_.timeouts.drain);
  drain_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    log::warn("drain deadline passed: ending what still runs");
    for (const auto& worker : workers_) worker->end_all();
    drain_timer_.expires_after(last_moments);
    drain_timer_.async_wait([this](boost::system::error_code cancelled) {
      if (cancelled) return;
      std::size_t open = 0;
      for (const auto& worker : workers_) open += worker->connections();
      if (open > 0) log::warn("cutting connections that did not end", {{"connections", open}});
      finish(0);
    });
  });
}

void App::drain_workers() {
  undrained_workers_ = workers_.size();
  for (const auto& worker : workers_) {
    worker->drain([this] {
      boost::asio::post(io_, [this] {
        if (--undrained_workers_ == 0) finish(0);
      });
    });
  }
}

void App::finish(int exit_code) {
  exit_code_ = exit_code;
  io_.stop();
}

}  // namespace kubelane

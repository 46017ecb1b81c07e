// Another configuration while App runs: what stays the same keeps its connections, identity, token
// and port. First everything is made that can fail; then nothing fails any more.
#include <algorithm>
#include <thread>
#include <utility>

#include "proxy/app.hpp"
#include "proxy/http/route_path.hpp"
#include "proxy/observe/log.hpp"

namespace kubelane {
namespace {

constexpr std::size_t most_removed = 1000;  // clusters that are remembered, of one endpoint

}  // namespace

void App::reload() {
  LoadResult loaded = source_.read();
  std::vector<Problem> problems = std::move(loaded.errors);
  problems.insert(problems.end(), loaded.missing.begin(), loaded.missing.end());
  for (const Problem& problem : problems)
    log::error("the configuration is not taken over; the one of before stays",
               {{"problem", problem.text()}});
  if (!problems.empty()) return;
  for (const Problem& warning : loaded.warnings)
    log::warn("configuration", {{"problem", warning.text()}});
  if (Outcome<void> changed = change_to(std::move(loaded.config)); !changed)
    log::error("the configuration is not taken over; the one of before stays",
               {{"problem", changed.error().message}});
}

Outcome<void> App::change_to(Config next) {
  if (next.workers == 0) next.workers = std::clamp(std::thread::hardware_concurrency(), 1u, 2u);
  const ConfigDifference difference = compare(config_, next);
  keep_what_needs_restart(next, config_);
  if (sandbox_ == host::Sandbox::on) {
    const std::vector<std::string> out = host::beyond(granted_, host::files_of(next, source_.path));
    if (!out.empty())
      return Failure{Code::config,
                     out.front() +
                         " is beyond the files that kubelane may open since its start (Landlock); "
                         "restart it, or start it with sandbox: false"};
  }
  std::vector<std::optional<std::size_t>> current;
  for (const auto& from : difference.goes_on_from) {
    current.emplace_back();
    if (from) current.back() = services_.at(configured_[*from]).endpoint;
  }
  Outcome<LocalSide::Plan> plan = local_side_.plan(next, current);
  if (!plan) return plan.error();
  if (Outcome<void> found = find_api_server(next); !found) return found.error();
  std::unique_ptr<teleport::Bot> first_bot;
  if (!bot_) {
    Outcome<std::unique_ptr<teleport::Bot>> made = make_bot(next);
    if (!made) return made.error();
    first_bot = std::move(*made);
  }

  for (const std::string& setting : difference.need_restart)
    log::warn("this setting has changed and needs a restart; the old value stays in use",
              {{"setting", setting}});
  const std::vector<LocalSide::Plan::Closed> closed = plan->closed;
  const std::vector<std::size_t> endpoints = plan->of_service;
  std::vector<std::size_t> opened;
  for (const auto& [number, endpoint] : plan->opened) opened.push_back(number);
  const bool new_names = next.allowed_hosts != config_.allowed_hosts || !opened.empty();
  local_side_.adopt(std::move(*plan));
  if (new_names)
    if (Outcome<void> made = local_side_.renew_certificate(next); !made)
      log::error("cannot renew the local server certificate", {{"cause", made.error().message}});
  const bool starts_bot = first_bot != nullptr;
  if (starts_bot) bot_ = std::move(first_bot);
  const LogLevel level_before = config_.log_level;
  change_services(next, difference, endpoints);
  if (starts_bot) bot_->start();
  for (const LocalSide::Plan::Closed& each : closed)
    workers_.front()->stop_accepting_from(each.endpoint, each.handed_over);
  for (const std::size_t endpoint : opened) open_endpoint(endpoint);
  for (const auto& worker : workers_) worker->change_settings(config_);
  log::set_format(config_.log_format);
  // Told by whichever level tells more; and what is told applies already.
  if (config_.log_level < level_before) log::set_level(config_.log_level);
  log::info("the configuration is taken over",
            {{"services", configured_.size()}, {"ended", difference.ended.size()}});
  log::set_level(config_.log_level);
  return {};
}

void App::change_services(const Config& next, const ConfigDifference& difference,
                          const std::vector<std::size_t>& endpoints) {
  for (const std::size_t ended : difference.ended) end_service(configured_[ended]);
  std::vector<ServiceNumber> configured;
  std::vector<ServiceNumber> fresh;
  for (std::size_t i = 0; i < next.services.size(); ++i) {
    const Service& service = next.services[i];
    for (const ClusterSelector& cluster : service.clusters)
      forget_removed(endpoints[i], cluster.name);
    if (const auto from = difference.goes_on_from[i]) {
      configured.push_back(configured_[*from]);
      ServiceState& state = services_.at(configured.back());
      change_service(state, service, endpoints[i]);
      meters_.keep(configured.back(), state.clusters);
    } else {
      configured.push_back(add_service(service, endpoints[i]));
      fresh.push_back(configured.back());
    }
  }
  configured_ = std::move(configured);
  config_ = next;
  for (const ServiceNumber service : configured_)
    if (Outcome<void> opened = open_secret(service); !opened)
      log::error("cannot write the kubeconfig", {{"cause", opened.error().message}});
  tell_bot();
  for (const ServiceNumber service : fresh)
    services_.at(service).upstream = add_source(service, "");
  publish_listeners();
  for (const ServiceNumber service : fresh)
    upstreams_[services_.at(service).upstream].source->start();
  const bool were_ready = all_ready_;
  all_ready_ = std::all_of(services_.begin(), services_.end(),
                           [](const auto& each) { return each.second.ready; });
  for (const ServiceNumber service : configured_) look_at(service);
  if (all_ready_ && !were_ready) {
    all_ready_ = false;
    look_at_all();
  }
}

void App::change_service(ServiceState& state, const Service& next, std::size_t endpoint) {
  if (same_service(state.configured, next) && state.endpoint == endpoint) return;
  const std::vector<teleport::ServedCluster> before = state.clusters;
  if (state.configured.destination != next.destination) state.secret.reset();
  state.configured = next;
  if (state.endpoint != endpoint)
    state.former_endpoints.push_back(std::exchange(state.endpoint, endpoint));
  state.selection_changed = true;
  if (!next.by_bot()) {
    state.clusters = named_clusters(next);
    for (const teleport::ServedCluster& cluster : before)
      if (!holds(state.clusters, cluster.name)) remember_removed(endpoint, cluster.name);
  }
  state.stale_kubeconfig = true;
  state.ready = false;
  upstreams_[state.upstream].source->rename(next.label(), only_cluster(next));
}

void App::end_service(ServiceNumber service) {
  const ServiceState& state = services_.at(service);
  for (const teleport::ServedCluster& cluster : state.clusters)
    remember_removed(state.endpoint, cluster.name);
  for (const auto& [cluster, upstream] : state.upstreams) retire_upstream(upstream);
  retire_upstream(state.upstream);
  log::info("a service has ended", {{"service", state.configured.label()}});
  meters_.keep(service, std::vector<teleport::ServedCluster>());
  services_.erase(service);
}

void App::remember_removed(std::size_t endpoint, const std::string& cluster) {
  std::map<std::string, std::string>& removed = removed_[endpoint];
  removed[http::local_prefix(cluster).substr(1)] =
      "Kubernetes cluster \"" + cluster +
      "\" is not served any more: it was removed from kubelane's configuration.";
  while (removed.size() > most_removed) removed.erase(removed.begin());
}

void App::forget_removed(std::size_t endpoint, const std::string& cluster) {
  if (const auto removed = removed_.find(endpoint); removed != removed_.end())
    removed->second.erase(http::local_prefix(cluster).substr(1));
}

}  // namespace kubelane

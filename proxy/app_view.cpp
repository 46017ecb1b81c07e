// What App tells about its state to whoever answers probes, scrapes and the administrator.
#include <algorithm>

#include "proxy/app.hpp"

namespace kubelane {

ControlView App::view() const {
  ControlView view;
  const std::vector<std::string> names = service_names(config_);
  for (std::size_t i = 0; i < configured_.size(); ++i) {
    const ServiceState& state = services_.at(configured_[i]);
    const Service& configured = state.configured;
    ServiceView service;
    service.number = configured_[i];
    service.name = names[i];
    service.by_bot = configured.by_bot();
    service.listed = state.listed;
    service.kubeconfig_written = state.kubeconfig_written;
    for (const teleport::ServedCluster& cluster : state.clusters)
      service.routes.push_back(route_to(configured_[i], cluster.name));
    // A cluster that was only found by its labels may go as it came.
    for (const ClusterSelector& selector : configured.clusters)
      if (const auto found = state.absent.find(selector.name); found != state.absent.end())
        service.absent.insert(*found);
    view.services.push_back(std::move(service));
  }
  for (const UpstreamState& state : upstreams_) {
    UpstreamView upstream;
    if (!state.source) {  // of a service that has ended
      view.upstreams.push_back(std::move(upstream));
      continue;
    }
    const auto service = std::find(configured_.begin(), configured_.end(), state.service);
    upstream.service = static_cast<std::size_t>(service - configured_.begin());
    upstream.cluster = state.cluster;
    upstream.newest = state.source->newest();
    upstream.identity = state.source->identity();
    upstream.identities = state.source->identities();
    upstream.renewal_problem = state.source->renewal_problem();
    view.upstreams.push_back(std::move(upstream));
  }
  if (bot_) view.bot = bot_->condition();
  view.local_certificate_end = local_side_.certificate_end();
  view.draining = drain_.begun();
  return view;
}

}  // namespace kubelane

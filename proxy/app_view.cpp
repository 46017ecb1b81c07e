// What App tells about its state to whoever answers probes, scrapes and the administrator.
#include <algorithm>

#include "proxy/app.hpp"

namespace kubelane {

ControlView App::view() const {
  ControlView view;
  const std::vector<std::string> names = service_names(config_);
  for (std::size_t i = 0; i < services_.size(); ++i) {
    const ServiceState& state = services_[i];
    const Service& configured = config_.services[i];
    ServiceView service;
    service.name = names[i];
    service.by_bot = configured.by_bot();
    service.listed = state.listed;
    service.kubeconfig_written = state.kubeconfig_written;
    for (const teleport::ServedCluster& cluster : state.clusters)
      service.routes.push_back(route_to(i, cluster.name));
    // A cluster that was only found by its labels may go as it came.
    for (const ClusterSelector& selector : configured.clusters)
      if (const auto found = state.absent.find(selector.name); found != state.absent.end())
        service.absent.insert(*found);
    view.services.push_back(std::move(service));
  }
  for (const UpstreamState& state : upstreams_) {
    UpstreamView upstream;
    upstream.service = state.service;
    upstream.cluster = state.cluster;
    if (!state.source) {
      view.upstreams.push_back(std::move(upstream));
      continue;
    }
    upstream.newest = state.source->newest();
    upstream.identity = state.source->identity();
    upstream.identities = state.source->identities();
    upstream.renewal_problem = state.source->renewal_problem();
    view.upstreams.push_back(std::move(upstream));
  }
  if (bot_) view.bot = bot_->condition();
  view.local_certificate_end = certificate_end_;
  view.draining = draining_;
  return view;
}

}  // namespace kubelane

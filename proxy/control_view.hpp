// What the control thread knows at one moment of services, clusters and identities: made by App
// for whoever answers probes, scrapes and the administrator.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proxy/link/upstream_snapshot.hpp"
#include "proxy/relay/listener.hpp"
#include "proxy/teleport/bot_condition.hpp"
#include "tls/identity.hpp"

namespace kubelane {

struct ServiceView {
  std::size_t number = 0;  // Route::service: none is used twice
  std::string name;        // service_names()
  bool by_bot = false;
  bool listed = false;              // its clusters are known, not only configured
  bool kubeconfig_written = false;  // at least once
  std::vector<relay::Route> routes;
  std::map<std::string, std::string> absent;  // cluster -> why it is not served
};

struct UpstreamView {
  std::optional<std::size_t> service;  // index into ControlView::services; none: it has ended
  std::string cluster;                 // that its certificate is bound to; empty: any
  link::UpstreamSnapshotPtr newest;    // null: none yet
  tls::IdentityPtr identity;           // the newest good one, expired or not; null: none yet
  std::uint64_t identities = 0;        // taken so far
  std::string renewal_problem;         // why there is no newer one
};

struct ControlView {
  std::vector<ServiceView> services;    // as in the configuration
  std::vector<UpstreamView> upstreams;  // by Route::upstream
  std::optional<teleport::BotCondition> bot;
  std::chrono::system_clock::time_point local_certificate_end{};
  bool draining = false;
};

}  // namespace kubelane

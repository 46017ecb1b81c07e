#include "proxy/admin/health.hpp"

#include <algorithm>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <unistd.h>

namespace kubelane::admin {
namespace {

namespace json = boost::json;

constexpr std::size_t most_named = 10;  // clusters in one reason

std::string_view text(Status status) noexcept {
  switch (status) {
    case Status::initializing:
      return "initializing";
    case Status::healthy:
      return "healthy";
    case Status::unhealthy:
      return "unhealthy";
  }
  return "unhealthy";
}

json::string_view view(std::string_view from) { return {from.data(), from.size()}; }

json::object head(Status status, Cause cause, const std::string& reason) {
  json::object object;
  object["status"] = view(text(status));
  if (cause != Cause::none) object["cause"] = view(name(cause));
  if (!reason.empty()) object["reason"] = reason;
  return object;
}

json::object object_of(const ClusterHealth& cluster) {
  json::object object = head(cluster.status, cluster.cause, cluster.reason);
  if (cluster.answered_ago) object["answered_seconds_ago"] = cluster.answered_ago->count();
  return object;
}

json::object object_of(const ServiceHealth& service) {
  json::object object = head(service.status, service.cause, service.reason);
  if (service.clusters.empty()) return object;
  json::object clusters;
  for (const ClusterHealth& cluster : service.clusters) clusters[cluster.name] = object_of(cluster);
  object["clusters"] = std::move(clusters);
  return object;
}

}  // namespace

const ServiceHealth* Health::find(std::string_view service) const {
  for (const auto* list : {&services, &internal})
    for (const ServiceHealth& each : *list)
      if (each.name == service) return &each;
  return nullptr;
}

ServiceHealth sum_up(std::string service, std::vector<ClusterHealth> clusters,
                     const std::string& nothing) {
  ServiceHealth sum;
  sum.name = std::move(service);
  sum.clusters = std::move(clusters);
  const auto with = [&](Status status) {
    return std::count_if(sum.clusters.begin(), sum.clusters.end(),
                         [status](const ClusterHealth& each) { return each.status == status; });
  };
  if (sum.clusters.empty()) {
    sum.reason = nothing;
    return sum;
  }
  sum.status = with(Status::healthy) > 0     ? Status::healthy
               : with(Status::unhealthy) > 0 ? Status::unhealthy
                                             : Status::initializing;
  sum.cause = Cause::none;
  std::size_t named = 0;
  for (const ClusterHealth& cluster : sum.clusters) {
    if (cluster.status == Status::healthy && cluster.reason.empty()) continue;
    if (sum.cause == Cause::none && sum.status != Status::healthy) sum.cause = cluster.cause;
    if (named++ == most_named) sum.reason += "; and more";
    if (named > most_named) continue;
    if (sum.reason.find(cluster.reason) != std::string::npos && !cluster.reason.empty()) continue;
    if (!sum.reason.empty()) sum.reason += "; ";
    sum.reason += cluster.reason;
  }
  return sum;
}

void sum_up(Health& health) {
  health.cause = Cause::none;
  health.reason.clear();
  health.status = Status::healthy;
  for (const ServiceHealth& service : health.services) {
    if (service.status == Status::healthy) continue;
    if (health.status != Status::unhealthy) health.status = service.status;
  }
}

std::string to_json(const Health& health) {
  json::object object = head(health.status, health.cause, health.reason);
  object["pid"] = static_cast<std::int64_t>(::getpid());
  json::object services;
  for (const auto* list : {&health.services, &health.internal})
    for (const ServiceHealth& service : *list) services[service.name] = object_of(service);
  object["services"] = std::move(services);
  return json::serialize(object) + "\n";
}

std::string to_json(const ServiceHealth& service) {
  return json::serialize(object_of(service)) + "\n";
}

std::string to_json(const ClusterHealth& cluster) {
  return json::serialize(object_of(cluster)) + "\n";
}

int http_status(Status status) noexcept { return status == Status::healthy ? 200 : 503; }

}  // namespace kubelane::admin

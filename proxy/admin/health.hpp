// What /readyz says, in the form of tbot's: a status for the whole, one for each service, and why.
// Below each service stand its clusters, which tbot's clients pass over.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/admin/cause.hpp"

namespace kubelane::admin {

enum class Status : std::uint8_t { initializing, healthy, unhealthy };  // tbot's

struct ClusterHealth {
  std::string name;
  Status status = Status::initializing;
  Cause cause = Cause::starting;
  std::string reason;  // a sentence with the remedy; may be set with `healthy`, too
  std::optional<std::chrono::seconds> answered_ago;  // the latest exchange that proved it
};

struct ServiceHealth {
  std::string name;
  Status status = Status::initializing;
  Cause cause = Cause::starting;
  std::string reason;
  std::vector<ClusterHealth> clusters;
};

struct Health {
  Status status = Status::initializing;
  Cause cause = Cause::starting;
  std::string reason;
  std::vector<ServiceHealth> services;
  // What does not decide whether requests are served, such as the bot's own identity. Beside the
  // services in the answer.
  std::vector<ServiceHealth> internal;

  const ServiceHealth* find(std::string_view service) const;
};

// A service is healthy as soon as one of its clusters is, since its other clusters would gain
// nothing if this one were taken away; its reason names those that are not. Without a cluster it
// has to say why in `nothing`.
ServiceHealth sum_up(std::string name, std::vector<ClusterHealth> clusters,
                     const std::string& nothing);
// All services must be healthy.
void sum_up(Health& health);

std::string to_json(const Health& health);
std::string to_json(const ServiceHealth& service);
std::string to_json(const ClusterHealth& cluster);
// 200 or 503.
int http_status(Status status) noexcept;

}  // namespace kubelane::admin

#include "config/difference.hpp"

#include <functional>

namespace kubelane {
namespace {

// What is set up once: the connection to Teleport, threads, files that are locked.
template <class Visit>
void each_fixed(Visit visit) {
  visit(
      "proxy_server", [](auto& config) -> auto& { return config.proxy_server; });
  visit(
      "auth_server", [](auto& config) -> auto& { return config.auth_server; });
  visit(
      "proxy_ca", [](auto& config) -> auto& { return config.proxy_ca; });
  visit(
      "proxy_protocol", [](auto& config) -> auto& { return config.proxy_protocol; });
  visit(
      "insecure", [](auto& config) -> auto& { return config.insecure; });
  visit(
      "oneshot", [](auto& config) -> auto& { return config.oneshot; });
  visit(
      "storage", [](auto& config) -> auto& { return config.storage_path; });
  visit(
      "storage (secret)", [](auto& config) -> auto& { return config.storage_secret; });
  visit(
      "sandbox", [](auto& config) -> auto& { return config.sandbox; });
  visit(
      "workers", [](auto& config) -> auto& { return config.workers; });
  visit(
      "local_trust", [](auto& config) -> auto& { return config.local_trust; });
  visit(
      "diag_addr", [](auto& config) -> auto& { return config.diag_addr; });
  visit(
      "admin_addr", [](auto& config) -> auto& { return config.admin_addr; });
  visit(
      "exit.when_file", [](auto& config) -> auto& { return config.exit.when_file; });
  visit(
      "exit.when_idle", [](auto& config) -> auto& { return config.exit.when_idle; });
  visit(
      "exit.with_pid", [](auto& config) -> auto& { return config.exit.with_pid; });
}

using Same = std::function<bool(const Service& previous, const Service& next)>;

// Pairs what is still without a partner, in the order of the file.
void pair_up(const Config& previous, const Config& next, std::vector<bool>& taken,
             std::vector<std::optional<std::size_t>>& goes_on_from, const Same& same) {
  for (std::size_t i = 0; i < next.services.size(); ++i) {
    for (std::size_t k = 0; k < previous.services.size() && !goes_on_from[i]; ++k) {
      if (taken[k] || !same(previous.services[k], next.services[i])) continue;
      goes_on_from[i] = k;
      taken[k] = true;
    }
  }
}

}  // namespace

bool same_service(const Service& left, const Service& right) {
  Service moved = left;
  moved.line = right.line;
  return moved == right;
}

bool same_way(const Service& left, const Service& right) {
  if (left.type != right.type || left.credentials_path != right.credentials_path ||
      left.roles != right.roles)
    return false;
  // A kubernetes service of the bot's has a certificate for its one cluster.
  return !left.by_bot() || left.type == Service::Type::kubernetes_v2 ||
         left.clusters == right.clusters;
}

ConfigDifference compare(const Config& previous, const Config& next) {
  ConfigDifference difference;
  difference.goes_on_from.resize(next.services.size());
  std::vector<bool> taken(previous.services.size());
  const auto pair = [&](const Same& same) {
    pair_up(previous, next, taken, difference.goes_on_from, same);
  };
  pair(same_service);
  pair([](const Service& left, const Service& right) {
    return same_way(left, right) && left.destination.path == right.destination.path;
  });
  pair(same_way);
  for (std::size_t i = 0; i < taken.size(); ++i)
    if (!taken[i]) difference.ended.push_back(i);
  each_fixed([&](const char* name, auto value_in) {
    if (value_in(previous) != value_in(next)) difference.need_restart.emplace_back(name);
  });
  return difference;
}

void keep_what_needs_restart(Config& next, const Config& previous) {
  each_fixed([&](const char*, auto value_in) { value_in(next) = value_in(previous); });
}

}  // namespace kubelane

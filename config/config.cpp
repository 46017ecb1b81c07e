#include "config/config.hpp"

#include <algorithm>

namespace kubelane {

std::string_view name(JoinMethod method) noexcept {
  switch (method) {
    case JoinMethod::token:
      return "token";
    case JoinMethod::kubernetes:
      return "kubernetes";
    case JoinMethod::github:
      return "github";
    case JoinMethod::gitlab:
      return "gitlab";
    case JoinMethod::gcp:
      return "gcp";
    case JoinMethod::circleci:
      return "circleci";
    case JoinMethod::bitbucket:
      return "bitbucket";
    case JoinMethod::azure_devops:
      return "azure_devops";
    case JoinMethod::terraform_cloud:
      return "terraform_cloud";
    case JoinMethod::spacelift:
      return "spacelift";
    case JoinMethod::bound_keypair:
      return "bound_keypair";
  }
  return "unknown";
}

const std::string& Service::label() const {
  static const std::string unnamed = "unnamed";
  if (!name.empty()) return name;
  return clusters.empty() || clusters.front().name.empty() ? unnamed : clusters.front().name;
}

std::vector<std::string> service_names(const Config& config) {
  std::vector<std::string> names;
  const auto taken = [&names](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  std::map<Service::Type, unsigned> numbers;
  for (const Service& service : config.services) {
    const bool v2 = service.type == Service::Type::kubernetes_v2;
    const unsigned number = ++numbers[service.type];
    std::string name = service.name;
    if (name.empty() || taken(name))
      name = (v2 ? "kubernetes-v2-" : "kubernetes-") + std::to_string(number);
    while (taken(name)) name += "+";
    names.push_back(std::move(name));
  }
  return names;
}

}  // namespace kubelane

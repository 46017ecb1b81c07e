#include "config/config.hpp"

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

}  // namespace kubelane

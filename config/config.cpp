#include "config/config.hpp"

namespace kubelane {

const std::string& Service::label() const {
  static const std::string unnamed = "unnamed";
  if (!name.empty()) return name;
  return clusters.empty() ? unnamed : clusters.front().name;
}

}  // namespace kubelane

// tbot's first configuration format, before Teleport 14: `destinations` with a directory each, and
// a `kubernetes_cluster` in those that are for Kubernetes.
#pragma once

#include <functional>
#include <string>

#include <yaml-cpp/yaml.h>

namespace kubelane {

// Hears what becomes otherwise, and what is left out; `at` may be undefined.
struct MigrationNotes {
  std::function<void(const YAML::Node& at, const std::string& what)> changed;
  std::function<void(const YAML::Node& at, const std::string& what)> dropped;
};

bool is_tbot_v1(const YAML::Node& root);

// The same as a v2 document. Values keep the places that they had. Destinations that are not for
// Kubernetes are told to `notes.dropped`, and become services of type identity or as they were.
YAML::Node from_tbot_v1(const YAML::Node& root, const MigrationNotes& notes);

}  // namespace kubelane

#include "config/tbot_v1.hpp"

namespace kubelane {
namespace {

// What v1 calls `directory: /path`, `directory: {path: …}` or `memory: …`.
YAML::Node destination_of(const YAML::Node& mixin) {
  YAML::Node out(YAML::NodeType::Map);
  const YAML::Node directory = mixin["directory"];
  if (!directory) {
    if (mixin["memory"]) out["type"] = "memory";
    return out;
  }
  out["type"] = "directory";
  if (directory.IsMap()) {
    for (const auto& entry : directory) out[entry.first] = entry.second;
  } else {
    out["path"] = directory;
  }
  return out;
}

// A name, or a map that holds nothing but the name.
YAML::Node cluster_name(const YAML::Node& node) {
  if (node.IsMap() && node.size() == 1) return node.begin()->second;
  return node;
}

YAML::Node service_of(const YAML::Node& destination, const MigrationNotes& notes) {
  YAML::Node out(YAML::NodeType::Map);
  const YAML::Node cluster = destination["kubernetes_cluster"];
  if (cluster) {
    out["type"] = "kubernetes";
    out["kubernetes_cluster"] = cluster_name(cluster);
    if (destination["roles"]) out["roles"] = destination["roles"];
    if (const YAML::Node leaf = destination["cluster"])
      notes.dropped(leaf,
                    "cluster: Kubernetes clusters are those of the bot's own Teleport cluster");
    if (destination["configs"])
      notes.changed(destination["configs"],
                    "configs: kubelane writes kubeconfig.yaml, and no other file");
  } else {
    out["type"] = destination["app"]        ? "application"
                  : destination["database"] ? "database"
                                            : "identity";
  }
  out["destination"] = destination_of(destination);
  return out;
}

}  // namespace

bool is_tbot_v1(const YAML::Node& root) {
  if (!root.IsMap()) return false;
  const YAML::Node version = root["version"];
  if (version) return version.IsScalar() && version.Scalar() == "v1";
  return root["destinations"].IsDefined();
}

YAML::Node from_tbot_v1(const YAML::Node& root, const MigrationNotes& notes) {
  YAML::Node out(YAML::NodeType::Map);
  for (const auto& entry : root) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (key == "version") continue;
    if (key == "storage" && entry.second.IsMap()) {
      out[entry.first] = destination_of(entry.second);
    } else if (key == "destinations" && entry.second.IsSequence()) {
      YAML::Node services(YAML::NodeType::Sequence);
      for (const YAML::Node& destination : entry.second)
        services.push_back(destination.IsMap() ? service_of(destination, notes) : destination);
      out["services"] = services;
    } else {
      out[entry.first] = entry.second;
    }
  }
  out["version"] = "v2";
  notes.changed({}, "the file is of tbot's version v1; what follows is version v2");
  return out;
}

}  // namespace kubelane

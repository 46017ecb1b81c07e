#include "proxy/teleport/inventory.hpp"

#include <algorithm>
#include <set>

namespace kubelane::teleport {
namespace {

constexpr const char* discovered_label = "teleport.internal/discovered-name";

bool carries(const KubeClusterInfo& cluster, const std::map<std::string, std::string>& labels) {
  return std::all_of(labels.begin(), labels.end(), [&](const auto& wanted) {
    const auto& [label, value] = wanted;
    if (label == "*") return value == "*";
    const auto found = cluster.labels.find(label);
    return found != cluster.labels.end() && (value == "*" || found->second == value);
  });
}

}  // namespace

Inventory select_clusters(const std::vector<ClusterSelector>& selectors,
                          const std::vector<KubeClusterInfo>& listed) {
  Inventory inventory;
  std::set<std::string> taken;
  const auto add = [&](const KubeClusterInfo& cluster, const ClusterSelector& by) {
    if (taken.insert(cluster.name).second)
      inventory.clusters.push_back({cluster.name, by.default_namespace});
  };
  for (const ClusterSelector& selector : selectors) {
    if (selector.name.empty()) {
      std::vector<const KubeClusterInfo*> matches;
      for (const KubeClusterInfo& cluster : listed)
        if (carries(cluster, selector.labels)) matches.push_back(&cluster);
      std::sort(matches.begin(), matches.end(),
                [](const auto* left, const auto* right) { return left->name < right->name; });
      for (const KubeClusterInfo* match : matches) add(*match, selector);
      continue;
    }
    const KubeClusterInfo* exact = nullptr;
    std::vector<const KubeClusterInfo*> discovered;
    for (const KubeClusterInfo& cluster : listed) {
      if (cluster.name == selector.name) exact = &cluster;
      const auto label = cluster.labels.find(discovered_label);
      if (label != cluster.labels.end() && label->second == selector.name)
        discovered.push_back(&cluster);
    }
    if (exact == nullptr && discovered.size() == 1) exact = discovered.front();
    if (exact != nullptr) {
      add(*exact, selector);
    } else if (discovered.empty()) {
      inventory.missing.push_back(
          {selector.name,
           "Teleport lists no Kubernetes cluster of this name for the bot: check the "
           "name (`tctl kube ls`), that its agent is up, and the kubernetes_labels "
           "of the bot's roles"});
    } else {
      inventory.missing.push_back(
          {selector.name,
           "several discovered Kubernetes clusters have this name; use the full name "
           "of one, e.g. " +
               discovered.front()->name});
    }
  }
  return inventory;
}

std::map<std::string, std::string> labels_to_ask(const std::vector<ClusterSelector>& selectors) {
  if (selectors.size() == 1 && selectors.front().name.empty()) return selectors.front().labels;
  return {};
}

}  // namespace kubelane::teleport

// Which of the clusters that Teleport lists a service serves: its selectors, applied. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"
#include "proxy/teleport/auth_client.hpp"

namespace kubelane::teleport {

struct ServedCluster {
  std::string name;  // Teleport's
  std::string default_namespace;
  bool operator==(const ServedCluster&) const = default;
};

struct Inventory {
  // In the order of the selectors, and by name within one; each cluster once.
  std::vector<ServedCluster> clusters;
  struct Missing {
    std::string name;   // the selector's
    std::string cause;  // a sentence
    bool operator==(const Missing&) const = default;
  };
  std::vector<Missing> missing;  // named clusters that are not to be had
  bool operator==(const Inventory&) const = default;
};

// A name selects the cluster of that name, else the one that was discovered under it (spec 5).
Inventory select_clusters(const std::vector<ClusterSelector>& selectors,
                          const std::vector<KubeClusterInfo>& listed);

// The labels to ask Teleport for, when one selector by labels is all there is; else none.
std::map<std::string, std::string> labels_to_ask(const std::vector<ClusterSelector>& selectors);

}  // namespace kubelane::teleport

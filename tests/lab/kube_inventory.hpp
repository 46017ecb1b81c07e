// The Kubernetes clusters that Teleport knows, as ListResources sees them (control-plane spec 5).
// Not thread-safe by itself.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/lab/http.hpp"

namespace lab {

using Labels = std::map<std::string, std::string>;

struct KubeResource {
  std::string name;
  Labels labels = {};
  Labels dynamic_labels = {};  // results of commands
  std::size_t servers = 1;     // agents that serve it
  Handler handler = {};        // what the Proxy forwards to; none: its agents do not answer
};

struct ListQuery {
  std::size_t limit = 0;
  std::string start_key = {};
  Labels labels = {};
  std::string predicate = {};
  std::vector<std::string> keywords = {};
  bool descending = false;
};

struct ListedServer {
  const KubeResource* cluster;
  std::string host_id;
};

struct ListPage {
  std::vector<ListedServer> servers;
  std::string next_key;  // empty: the last page
  std::size_t total = 0;
};

// Static labels and the results of dynamic ones.
Labels all_labels(const KubeResource& cluster);

class KubeInventory {
 public:
  void put(KubeResource cluster);
  bool remove(const std::string& name);
  const KubeResource* find(const std::string& name) const;
  std::size_t size() const { return clusters_.size(); }

  // One page of those that `visible` lets through, a row for each server. Throws CallError on a bad
  // limit, key or predicate. Pointers hold until the next change.
  ListPage list(const ListQuery& query,
                const std::function<bool(const KubeResource&)>& visible) const;

 private:
  std::map<std::string, KubeResource> clusters_;
};

}  // namespace lab

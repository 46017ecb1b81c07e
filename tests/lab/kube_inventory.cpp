#include "tests/lab/kube_inventory.hpp"

#include <algorithm>
#include <utility>

#include "tests/lab/call_error.hpp"
#include "tests/lab/label_predicate.hpp"

namespace lab {
namespace {

// As a UUID looks; the same for the same agent at every call.
std::string host_id(std::size_t server) {
  const std::string number = std::to_string(server);
  return "00000000-1ab0-4000-8000-" +
         std::string(12 - std::min<std::size_t>(12, number.size()), '0') + number;
}

bool has_labels(const Labels& labels, const Labels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& each) {
    if (each.first == "*" && each.second == "*") return true;
    const auto found = labels.find(each.first);
    return found != labels.end() && (each.second == "*" || found->second == each.second);
  });
}

bool has_keyword(const KubeResource& cluster, const Labels& labels, const std::string& word) {
  return cluster.name.find(word) != std::string::npos ||
         std::any_of(labels.begin(), labels.end(), [&](const auto& each) {
           return each.first.find(word) != std::string::npos ||
                  each.second.find(word) != std::string::npos;
         });
}

}  // namespace

Labels all_labels(const KubeResource& cluster) {
  Labels labels = cluster.labels;
  for (const auto& [name, result] : cluster.dynamic_labels) labels[name] = result;
  return labels;
}

void KubeInventory::put(KubeResource cluster) {
  const std::string name = cluster.name;
  clusters_[name] = std::move(cluster);
}

bool KubeInventory::remove(const std::string& name) { return clusters_.erase(name) > 0; }

const KubeResource* KubeInventory::find(const std::string& name) const {
  const auto found = clusters_.find(name);
  return found == clusters_.end() ? nullptr : &found->second;
}

ListPage KubeInventory::list(const ListQuery& query,
                             const std::function<bool(const KubeResource&)>& visible) const {
  if (query.limit == 0) {
    throw CallError{grpc_code::invalid_argument, "nonpositive parameter limit"};
  }
  std::vector<std::pair<std::string, ListedServer>> rows;  // by key
  for (const auto& [name, cluster] : clusters_) {
    const Labels labels = all_labels(cluster);
    if (!visible(cluster) || !has_labels(labels, query.labels)) continue;
    if (!std::all_of(query.keywords.begin(), query.keywords.end(),
                     [&](const std::string& word) { return has_keyword(cluster, labels, word); })) {
      continue;
    }
    if (!query.predicate.empty() && !matches_predicate(query.predicate, name, labels)) continue;
    for (std::size_t server = 0; server < cluster.servers; ++server) {
      const std::string id = host_id(server);
      rows.push_back({name + "/" + id, {&cluster, id}});
    }
  }
  if (query.descending) std::reverse(rows.begin(), rows.end());
  ListPage page;
  page.total = rows.size();
  auto at = rows.begin();
  if (!query.start_key.empty()) {
    // The key may have gone meanwhile: go on behind where it was.
    at = std::find_if(rows.begin(), rows.end(), [&](const auto& row) {
      return query.descending ? row.first <= query.start_key : row.first >= query.start_key;
    });
  }
  for (; at != rows.end(); ++at) {
    if (page.servers.size() == query.limit) {
      page.next_key = at->first;
      break;
    }
    page.servers.push_back(at->second);
  }
  return page;
}

}  // namespace lab

// Which of the workers' route meters belongs to which cluster. Slots of clusters that are gone are
// used again, so that neither memory nor metrics grow where clusters come and go.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace kubelane {

// Thread: control.
class MeterSlots {
 public:
  struct Slot {
    std::size_t index = 0;
    std::uint64_t owner = 0;  // never the same for two clusters
  };

  Slot of(std::size_t service, const std::string& cluster) {
    const auto [found, fresh] = slots_.try_emplace({service, cluster});
    if (!fresh) return found->second;
    if (free_.empty()) {
      found->second.index = slots_.size() - 1;
    } else {
      found->second.index = free_.back();
      free_.pop_back();
    }
    found->second.owner = ++owners_;
    return found->second;
  }

  // The service has these clusters and no others. `clusters`: things with a name.
  template <class Clusters>
  void keep(std::size_t service, const Clusters& clusters) {
    std::erase_if(slots_, [&](const auto& entry) {
      if (entry.first.first != service) return false;
      const bool kept = std::any_of(clusters.begin(), clusters.end(), [&](const auto& cluster) {
        return cluster.name == entry.first.second;
      });
      if (!kept) free_.push_back(entry.second.index);
      return !kept;
    });
  }

 private:
  std::map<std::pair<std::size_t, std::string>, Slot> slots_;
  std::vector<std::size_t> free_;  // indexes below those in use
  std::uint64_t owners_ = 0;
};

}  // namespace kubelane

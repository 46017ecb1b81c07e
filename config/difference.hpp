// What changes between two configurations while kubelane runs: which services go on, which end, and
// what only a restart can change. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"

namespace kubelane {

struct ConfigDifference {
  // For each service of the next configuration, by index: the one of the previous that it goes on
  // from, with its identity and its connections. Nothing: it is new.
  std::vector<std::optional<std::size_t>> goes_on_from;
  std::vector<std::size_t> ended;  // indexes into the previous one's services
  // Settings that differ and that only a restart can change, as they stand in the file.
  std::vector<std::string> need_restart;
};

ConfigDifference compare(const Config& previous, const Config& next);

// Sets what only a restart can change to its value of before.
void keep_what_needs_restart(Config& next, const Config& previous);

// All but the line where it stands.
bool same_service(const Service& left, const Service& right);

// Both reach clusters by the same identity: what a service with other clusters, another destination
// or another listener can go on with.
bool same_way(const Service& left, const Service& right);

}  // namespace kubelane

// `kubelane migrate`: a tbot configuration, version v1 or v2, turned into kubelane's.
#pragma once

#include <string>
#include <vector>

#include "config/load.hpp"

namespace kubelane {

struct Migration {
  std::string yaml;               // commented; empty when there are errors
  std::vector<Problem> changed;   // what stands there otherwise than in tbot's file
  std::vector<Problem> dropped;   // what kubelane does not do
  std::vector<Problem> warnings;  // of load_config(): services left to tbot, fields without effect
  std::vector<Problem> missing;   // what `start` needs beyond it
  std::vector<Problem> errors;
};

// What it gives without errors load_config() accepts. `file`: the name for messages.
Migration migrate(const std::string& yaml, const std::string& file);

}  // namespace kubelane

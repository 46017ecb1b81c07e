// A unit file for systemd that gives kubelane what its configuration needs, and nothing else.
#pragma once

#include <string>
#include <vector>

#include "config/command_line.hpp"

namespace kubelane::cli {

struct SystemdUnit {
  std::string text;
  std::vector<std::string> notes;  // what the administrator must see to
};

// `program` and `config_path` are absolute.
SystemdUnit systemd_unit(const Config& config, const std::string& program,
                         const std::string& config_path, const UnitOptions& options);

}  // namespace kubelane::cli

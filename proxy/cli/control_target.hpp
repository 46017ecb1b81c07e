// Where a kubelane that runs is asked: from the flag, the environment or its configuration file.
#pragma once

#include <string>

#include "config/command_line.hpp"
#include "config/result.hpp"

namespace kubelane::cli {

struct ControlTarget {
  ControlAddress address;  // to connect to: never an unspecified host, never port 0
  std::string text;        // for messages: "127.0.0.1:3001 (--diag-addr)"
};

// `key`: "diag_addr" or "admin_addr". The file is not read when flag or variable name an address.
// The failure says how to give one.
Outcome<ControlTarget> control_target(const Command& command, const std::string& key);

}  // namespace kubelane::cli

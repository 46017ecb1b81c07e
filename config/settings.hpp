// The scalar settings of the top level: one table for the file, the environment and the flags.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/config.hpp"

namespace kubelane {

struct Setting {
  std::string key;  // "listen", "log.format", "limits.max_connections"
  // Sets the value; returns why it cannot, or an empty string.
  std::function<std::string(Config&, const std::string&)> set;
};

const std::vector<Setting>& settings();
const Setting* find_setting(const std::string& key);

// Why this is no local_auth, or an empty string.
std::string set_local_auth(LocalAuth& auth, const std::string& text);

}  // namespace kubelane

// A configuration as a file: commented YAML, in the order of the README's table, that load_config()
// reads back as the same configuration. What has its default is left out.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"

namespace kubelane {

// `heading`: lines of comment for the top, without "# ". Holds the join token when `config` does.
std::string write_config(const Config& config, const std::vector<std::string>& heading);

// The scalar settings (settings.hpp) that write_config() knows how to write.
std::vector<std::string> written_settings();

// A join token or registration secret itself stands in the configuration, and who has it can join:
// it is no name and no path.
bool holds_join_secret(const Config& config);

}  // namespace kubelane

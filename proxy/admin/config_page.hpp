// The configuration in force as JSON, by the names of the file. Secrets are masked: the join token
// stays what it is only where it is a mere name.
#pragma once

#include <string>

#include "config/config.hpp"

namespace kubelane::admin {

std::string config_page(const Config& config);

}  // namespace kubelane::admin

// What `version` prints: what a report of a bug needs.
#pragma once

#include <string>

namespace kubelane::cli {

// "kubelane 0.1.0" on the first line, then build and libraries; ends with a newline.
std::string version_text();

}  // namespace kubelane::cli

// kubelane(1), made from the parser of the command line.
#pragma once

#include <string>

#include "config/command_tree.hpp"

namespace kubelane::cli {

// In roff, with the macros of man(7).
std::string man_page(const CommandText& tree);

}  // namespace kubelane::cli

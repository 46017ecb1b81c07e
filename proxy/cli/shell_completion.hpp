// Completion scripts for shells, made from the parser of the command line.
#pragma once

#include <string>

#include "config/command_tree.hpp"

namespace kubelane::cli {

// `shell`: bash, zsh or fish.
std::string shell_completion(const CommandText& tree, const std::string& shell);

}  // namespace kubelane::cli

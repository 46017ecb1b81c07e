// `kubelane configure` and `kubelane migrate`: a configuration, printed or written to a file.
#pragma once

#include "config/command_line.hpp"

namespace kubelane {

// Each returns an exit code (config/exit_codes.hpp).
int configure(const Command& command);
int migrate(const Command& command);

}  // namespace kubelane

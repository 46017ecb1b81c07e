// The command line: argv and environment to what shall be done.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/load.hpp"

namespace kubelane {

struct Command {
  enum class Kind : std::uint8_t { start, check, keypair, exit };
  Kind kind = Kind::exit;
  int exit_code = 0;        // exit: 0 after help and version, 2 after a usage error
  std::string output;       // exit: for standard output, or standard error when exit_code is not 0
  std::string config_path;  // empty: no file
  std::vector<Override> overrides;  // environment first, then flags: the later wins
  std::optional<CommandService> service;
  std::vector<Problem> warnings;  // accepted flags without effect
  std::string storage_path;       // keypair: where a bot's joining key is to be
  bool fips = false;              // keypair: P-256 instead of Ed25519
};

Command parse_command_line(int argc, const char* const* argv, const Environment& environment);

// Reads the file that the command names and applies its overrides.
LoadResult resolve(const Command& command);

}  // namespace kubelane
